"""Reads CSV: header checked as a set, explicit columns, strict quoting and width, footers cut off first.

DuckDB's own detection collapses ragged rows to one column and its errors quote the line (faults C6-C8), so nothing is
detected and no error text leaves this module."""

from __future__ import annotations

import contextlib
import csv
import mmap
import re
from pathlib import Path

import duckdb

from orchestration.ingestion.parsed import TOO_LONG, Parsed, columns_of, known_columns, raw_columns
from orchestration.ingestion.quoting import ident, text
from orchestration.ingestion.refusal import MAX_LINE_BYTES, MOST_UNKNOWN_COLUMNS, Refused
from orchestration.policy.schema import Feed, Source

HEADER_BYTES = 1 << 20
# Between the parts of a line; a value that holds one is quarantined as a control character, so lines stay distinct.
_PART, _ABSENT = "chr(31)", "chr(30)"


def create(con: duckdb.DuckDBPyConnection, feed: Feed, table: str) -> None:
    """The table that `load` fills: every known raw column as text."""
    columns = ", ".join(f"{ident(name)} VARCHAR" for name in _sorted_columns(feed))
    con.execute(f"CREATE OR REPLACE TEMP TABLE {table} (file_no INTEGER, row_no BIGINT, dropped BIGINT, {columns})")


def load(con: duckdb.DuckDBPyConnection, source: Source, feed: Feed, table: str, file_no: int, path: Path) -> int:
    """Appends the rows of one verified file (all or nothing) and returns their number. Raises Refused."""
    header = read_header(path, feed.delimiter)
    known = known_columns(feed)
    check_header(header, known)
    if feed.footer_rows:
        cut_footer(path, feed, header, _required_columns(source, feed))
    return append_csv(con, table, file_no, path, [name if name in known else None for name in header], feed.delimiter)


def append_csv(
    con: duckdb.DuckDBPyConnection, table: str, file_no: int, path: Path, header: list[str | None], delimiter: str
) -> int:
    """Strict read of a verified CSV with these columns into `table` by name; those without a name are dropped. What the
    file calls them never reaches SQL: it may be a person's."""
    places = {f"c_{number}": name for number, name in enumerate(header)}
    types = "{" + ", ".join(f"{place}: 'VARCHAR'" for place in places) + "}"
    kept = ", ".join(f"{place} AS {ident(name)}" for place, name in places.items() if name is not None)
    failure = ""
    rows = 0
    try:
        found = con.execute(
            f"INSERT INTO {table} BY NAME SELECT {int(file_no)}::INTEGER AS file_no, row_number() OVER () AS row_no, "
            f"{header.count(None)}::BIGINT AS dropped, {kept} "
            f"FROM read_csv({text(path)}, columns = {types}, auto_detect = false, header = true, "
            f"delim = {text(delimiter)}, quote = '\"', escape = '\"', nullstr = '', strict_mode = true, "
            f"null_padding = false, ignore_errors = false, max_line_size = {MAX_LINE_BYTES}, "
            f"buffer_size = {4 * MAX_LINE_BYTES})"
        ).fetchone()
        rows = int(found[0]) if found else 0
    except duckdb.Error as error:
        failure = str(error)
    if failure:
        raise _refusal(failure)
    return rows


def parse(feed: Feed, table: str) -> Parsed:
    """The loaded rows; the line is every raw column in a fixed order, so that the order in the file does not matter."""
    parts = ", ".join(f"coalesce({ident(name)}, {_ABSENT})" for name in _sorted_columns(feed))
    lines = f"SELECT *, concat_ws({_PART}, {parts}) AS line FROM {table}"
    relation = f"SELECT *, CASE WHEN {TOO_LONG} THEN 'oversized' END AS problem FROM ({lines})"
    return Parsed(relation, {name: ident(name) for name in raw_columns(feed)}, "line")


def read_header(path: Path, delimiter: str) -> list[str]:
    """The column names in the first line. Raises Refused where there is none."""
    with path.open("rb") as source:
        first = source.readline(HEADER_BYTES + 1)
    if len(first) > HEADER_BYTES:
        raise Refused("oversized", 1)
    line = first.decode("utf-8", "ignore").split("\r")[0].rstrip("\n")
    names: list[str] = []
    with contextlib.suppress(csv.Error):
        names = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    if not names:
        raise Refused("ragged", 1)
    return [name.strip() for name in names]


def check_header(header: list[str], known: frozenset[str]) -> None:
    """Every known column, and none twice, however it is written. A new column is not read until policy says what
    becomes of it (C8, R-60); one that took the place of another is not new."""
    if known - set(header):
        raise Refused("missing_column", 1)
    if len({name.casefold() for name in header}) != len(header):
        raise Refused("repeated_column", 1)
    if len(set(header) - known) > MOST_UNKNOWN_COLUMNS:
        raise Refused("unknown_column", 1)


def cut_footer(path: Path, feed: Feed, header: list[str], required: set[str]) -> None:
    """Cuts the declared footer lines off. Where one fills every required column it is data: the file lost its end."""
    with path.open("r+b") as file:
        end = 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            end = len(data)
            for _ in range(feed.footer_rows):
                start, line = _last_line(data, end)
                if start == 0:
                    raise Refused("truncated")
                if _is_data(line, feed.delimiter, header, required):
                    raise Refused("truncated")
                end = start
        file.truncate(end)


def _last_line(data: mmap.mmap, end: int) -> tuple[int, str]:
    """The last line before `end` that is not blank, and where it starts."""
    while end > 0 and data[end - 1 : end] in (b"\n", b"\r", b" "):
        end -= 1
    start = data.rfind(b"\n", 0, end) + 1
    return start, data[start:end].decode("utf-8", "ignore")


def _is_data(line: str, delimiter: str, header: list[str], required: set[str]) -> bool:
    cells: list[str] = []
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return True  # it breaks off inside quotes
    filled = {name for name, cell in zip(header, cells, strict=False) if cell.strip()}
    return len(cells) == len(header) and bool(required) and required <= filled


def _required_columns(source: Source, feed: Feed) -> set[str]:
    columns = columns_of(feed)
    needed = {field.name for field in source.fields if field.required} | {source.occurred_at.field}
    return {columns[name].column for name in needed if name in columns}


def _sorted_columns(feed: Feed) -> list[str]:
    return sorted(known_columns(feed))


def _refusal(message: str) -> Refused:
    line = re.search(r"CSV Error on Line: (\d+)", message)
    number = int(line.group(1)) if line else None
    too_long = "Maximum line size" in message or "max_line_size" in message
    return Refused("oversized" if too_long else "ragged", number)
