"""Finds every file of a home, its anchor and landing, and every column of those that are tables, by looking at bytes
and catalogs, not at what should be there. Not here: what may be there (`places.py`)."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from orchestration.home import Home
from orchestration.retention.places import Found

ROWS = "rows"  # the table of a file that is one
SQLITE, PARQUET, DUCKDB = b"SQLite format 3\x00", b"PAR1", b"DUCK"


def discover(home: Home, *, anchor: Path | None = None, landing: Path | None = None) -> Iterator[Found]:
    """Everything that is there; each file once as such, and once for each column of each of its tables."""
    roots = [(home.root, ""), (anchor, "anchor/"), (None if landing == home.landing else landing, "landing/")]
    for root, prefix in roots:
        for path in sorted(root.rglob("*")) if root is not None and root.is_dir() else []:
            if path.is_file() or path.is_symlink():
                name = f"{prefix}{path.relative_to(root).as_posix()}" if root is not None else ""
                yield Found(name)
                if not name.startswith("landing/"):  # the sources' files, whose columns are theirs
                    for table, column in columns_of(path):
                        yield Found(name, table, column)


def columns_of(path: Path) -> list[tuple[str, str]]:
    """(table, column) of a file that holds tables, by what it begins with; a CSV by its name."""
    with path.open("rb") as file:
        head = file.read(16)
    if head == SQLITE:
        return _of_sqlite(path)
    if head[:4] == PARQUET:
        return [(ROWS, name) for name in pq.read_schema(path).names]
    if head[8:12] == DUCKDB:
        return _of_duckdb(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as text:
            return [(ROWS, name) for name in next(csv.reader(text), [])]
    return []


def _of_sqlite(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as con:
        query = (
            "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c "
            "WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid"
        )
        return [(str(table), str(column)) for table, column in con.execute(query)]


def _of_duckdb(path: Path) -> list[tuple[str, str]]:
    """Tables and views; a view whose files have gone since still names its columns."""
    query = (
        "SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns() "
        "WHERE NOT internal AND database_name = current_database() ORDER BY ALL"
    )
    with duckdb.connect(str(path), read_only=True) as con:
        return [(str(table), str(column)) for table, column in con.execute(query).fetchall()]
