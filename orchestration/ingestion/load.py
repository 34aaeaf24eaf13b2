"""Loads a group of verified files into the tables of one DuckDB connection: judged, held to the contract, minimised."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity import normalise, pseudonymise
from orchestration.identity.keys import Keys
from orchestration.ingestion import columnar, delimited, jsonl, messages
from orchestration.ingestion.contracts import check_contract
from orchestration.ingestion.duplicates import judge_repeats
from orchestration.ingestion.intake import Intake
from orchestration.ingestion.links import collect_links
from orchestration.ingestion.minimise import minimised_sql, tokenise
from orchestration.ingestion.parsed import LineStream, Parsed
from orchestration.ingestion.readers import line_batches
from orchestration.ingestion.refusal import Refused
from orchestration.ingestion.rows import Bounds, judged_sql
from orchestration.ingestion.suppress import suppress
from orchestration.policy.schema import Feed, Policy, Source
from orchestration.retention.suppressions import Suppressions
from orchestration.warehouse import duckdb_settings

# Temporary tables of the connection. JUDGED holds plain values; it ends with the connection.
JUDGED, VERDICTS, ACCEPTED, LINKS = "judged", "verdicts", "accepted", "links"


@contextlib.contextmanager
def connection(home: Home, policy: Policy, keys: Keys) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB with the token and normalising macros."""
    with duckdb_settings.connect(home) as con:
        con.execute("SET preserve_insertion_order = true")  # row numbers of a CSV are its order
        pseudonymise.install(con, keys)
        normalise.install(con, policy.organisation)
        yield con


def load(
    con: duckdb.DuckDBPyConnection,
    policy: Policy,
    source: Source,
    feed: Feed,
    group: dict[int, Intake],
    lake: list[Path],
    bounds: Bounds,
    now: datetime,
    erased: Suppressions,
) -> dict[int, int]:
    """Fills the tables from the group's files (number → intake) and returns the rows read per file. A file that breaks
    off here gets its refusal and leaves no row; what is of somebody `erased` has the verdict `suppressed`."""
    failure = ""
    read: dict[int, int] = {}
    try:
        read = _judge(con, source, feed, group, bounds)
        for number in [number for number, rows in read.items() if group[number].stated_rows not in (None, rows)]:
            _refuse(con, group, read, number, Refused("truncated"))
        for number in [number for number, rows in read.items() if rows == 0 and feed.format in ("jsonl", "xml")]:
            _refuse(con, group, read, number, Refused("empty"))
        _hold_to_contract(con, source, group, read)
        judge_repeats(con, JUDGED, VERDICTS, lake)
        good = f"SELECT * FROM {JUDGED} ANTI JOIN {VERDICTS} USING (file_no, row_no) WHERE reason IS NULL"
        tokenise(con, policy, source, good)
        suppress(con, policy, source, good, VERDICTS, erased)
        con.execute(f"CREATE OR REPLACE TEMP TABLE {ACCEPTED} AS {minimised_sql(policy, source, feed, good)}")
        collect_links(con, policy, source, ACCEPTED, LINKS, now)
    except duckdb.Error as error:
        failure = type(error).__name__  # its text quotes rows
    if failure:
        raise AssentError(
            f"DuckDB could not load the files ({failure})",
            where=f"{source.name}/{feed.name}",
            remedy="Check patterns and formats of this feed in sources.yaml, and free space and memory",
        )
    return read


def _judge(
    con: duckdb.DuckDBPyConnection, source: Source, feed: Feed, group: dict[int, Intake], bounds: Bounds
) -> dict[int, int]:
    if feed.format in ("csv", "table"):
        delimited.create(con, feed, "raw_rows")
        read = _load_csv(con, source, feed, group)
        _create_judged(con, source, feed, delimited.parse(feed, "raw_rows"), bounds)
        con.execute("DROP TABLE raw_rows")
        return read
    if feed.format == "parquet":
        return _load_parquet(con, source, feed, group, bounds)
    batches, module = (line_batches, jsonl) if feed.format == "jsonl" else (messages.message_batches, messages)
    stream = LineStream((number, batches(intake.text)) for number, intake in group.items() if intake.text is not None)
    con.register("raw_lines", stream.reader())
    try:
        _create_judged(con, source, feed, module.parse(feed, "raw_lines"), bounds)
    finally:
        con.unregister("raw_lines")
    return stream.read


def _create_judged(con: duckdb.DuckDBPyConnection, source: Source, feed: Feed, parsed: Parsed, bounds: Bounds) -> None:
    con.execute(f"CREATE OR REPLACE TEMP TABLE {JUDGED} AS {judged_sql(source, feed, parsed, bounds)}")


def _load_parquet(
    con: duckdb.DuckDBPyConnection, source: Source, feed: Feed, group: dict[int, Intake], bounds: Bounds
) -> dict[int, int]:
    files = {number: intake.text for number, intake in group.items() if intake.text is not None}
    _create_judged(con, source, feed, columnar.parse(feed, files), bounds)
    read = {number: columnar.rows_of(path) for number, path in files.items()}
    found = dict(con.execute(f"SELECT file_no, count(*) FROM {JUDGED} GROUP BY file_no").fetchall())
    for number in [number for number, rows in read.items() if found.get(number, 0) != rows]:
        _refuse(con, group, read, number, Refused("corrupt"))
    return read


def _load_csv(con: duckdb.DuckDBPyConnection, source: Source, feed: Feed, group: dict[int, Intake]) -> dict[int, int]:
    read = {}
    for number, intake in group.items():
        if intake.text is None:
            continue
        try:
            read[number] = delimited.load(con, source, feed, "raw_rows", number, intake.text)
        except Refused as refused:
            intake.refused = refused
    return read


def _hold_to_contract(
    con: duckdb.DuckDBPyConnection, source: Source, group: dict[int, Intake], read: dict[int, int]
) -> None:
    """The whole group at once; only where that fails, file by file."""
    if not _contract_holds(con, source, None):
        for number in list(read):
            if not _contract_holds(con, source, number):
                _refuse(con, group, read, number, Refused("contract_broken"))


def _contract_holds(con: duckdb.DuckDBPyConnection, source: Source, number: int | None) -> bool:
    fields = ", ".join(f"f_{field.name}" for field in source.fields)
    where = "" if number is None else f" AND file_no = {number}"
    con.execute(f"CREATE OR REPLACE TEMP VIEW to_check AS SELECT {fields} FROM {JUDGED} WHERE reason IS NULL{where}")
    found = con.execute("SELECT count(*) FROM to_check").fetchone()
    if not found or not found[0]:  # pandera's checks fail on a table without rows
        return True
    try:
        check_contract(con, source, "to_check")
    except Refused:
        return False
    return True


def _refuse(
    con: duckdb.DuckDBPyConnection, group: dict[int, Intake], read: dict[int, int], number: int, refused: Refused
) -> None:
    group[number].refused = refused
    del read[number]
    con.execute(f"DELETE FROM {JUDGED} WHERE file_no = ?", [number])
