"""Blocks what comes again of people who were erased (fault F5): their rows, and their identifiers in rows of others.

Not here: who was erased (`retention/suppressions.py`), lines in quarantine (`writer.py`)."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from orchestration.ingestion.minimise import identifier_table, identifiers_of
from orchestration.policy.schema import Policy, Source
from orchestration.retention.suppressions import Suppressions


def suppress(
    con: duckdb.DuckDBPyConnection, policy: Policy, source: Source, rows: str, verdicts: str, erased: Suppressions
) -> None:
    """Gives the rows whose subject was erased the verdict `suppressed`, and forgets the further identifiers that were:
    a row of somebody else loses the link, as it does when somebody is erased. `tokenise` must have run on `rows`."""
    identifiers = identifiers_of(policy, source)
    if not erased or not identifiers:
        return
    tables = [identifier_table(known) for known in identifiers]
    found = [con.execute(f"SELECT t FROM {table} WHERE t IS NOT NULL").fetchall() for table in tables]
    gone = erased.holds({token for of_table in found for (token,) in of_table})
    if not gone:
        return
    con.register("erased_tokens", pa.table({"token": pa.array(sorted(gone), pa.string())}))
    joins = " ".join(
        f"LEFT JOIN {table} ON r.f_{known.field} = {table}.f" for known, table in zip(identifiers, tables, strict=True)
    )
    subject = f"coalesce({', '.join(f'{table}.t' for table in tables)})"
    con.execute(
        f"INSERT INTO {verdicts} SELECT r.file_no, r.row_no, 'suppressed' FROM ({rows}) AS r {joins} "
        f"WHERE {subject} IN (SELECT token FROM erased_tokens)"
    )
    for table in tables:
        con.execute(f"DELETE FROM {table} WHERE t IN (SELECT token FROM erased_tokens)")
    con.unregister("erased_tokens")
