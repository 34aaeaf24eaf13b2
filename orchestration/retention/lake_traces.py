"""Which deliveries hold something of a person, by what the lake and the ledger say of where each record came from."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.consent.ledger import open_ledger
from orchestration.ingestion.lake import lake_files, manifests
from orchestration.retention.respond import Site
from orchestration.retention.strip import further_columns
from orchestration.warehouse.duckdb_settings import connect


def batches_of(site: Site, tokens: Sequence[str], refs: Sequence[str]) -> set[str]:
    """The batches with a touchpoint, or a record of the ledger, that names one of `tokens` or `refs`. Those of a file
    of which every row was a duplicate are not among them: the lake keeps the first."""
    with connect(site.home) as con:
        con.register("people", pa.table({"token": pa.array(list(tokens), pa.string())}))
        found = {batch for source in _sources(site) for batch in _of_source(con, site, source)}
    with open_ledger(site.home, site.keys, site.ledger_at) as (ledger, _):
        rows = ledger.subject_rows(list(refs)) if refs else []
    return found | {str(row["batch"]) for row in rows if row["batch"] is not None}


def _sources(site: Site) -> list[str]:
    return sorted({manifest.source for manifest in manifests(site.home)})


def _of_source(con: duckdb.DuckDBPyConnection, site: Site, source: str) -> set[str]:
    files = lake_files(site.home, source)
    if not files:
        return set()
    columns = sorted({name for path in files for name in further_columns(pq.read_schema(path))})
    ends = " or ".join(f'"{name}" in (select token from people)' for name in ("subject_token", *columns))
    query = f"select distinct batch from read_parquet($files, union_by_name = true) where {ends}"
    return {str(batch) for (batch,) in con.execute(query, {"files": [str(path) for path in files]}).fetchall()}
