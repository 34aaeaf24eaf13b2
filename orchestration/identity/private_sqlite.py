"""Opens the SQLite files of the home that hold personal data: private, durable, and deleted bytes are overwritten."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestration.errors import HomeError


def connect(path: Path, schema: str) -> sqlite3.Connection:
    """A connection to `path` (0600) with `schema` (CREATE … IF NOT EXISTS) in place. Transactions are explicit."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    failed = False
    try:
        con = sqlite3.connect(path, timeout=10, isolation_level=None)
        # A rollback journal, not WAL: a WAL would keep pages of what was erased until some later checkpoint.
        for pragma in ("journal_mode=TRUNCATE", "synchronous=FULL", "secure_delete=ON", "temp_store=MEMORY"):
            con.execute(f"PRAGMA {pragma}")
        con.executescript(schema)
    except sqlite3.DatabaseError:
        failed = True
    if failed:
        raise HomeError("the file is damaged or in use", where=str(path), remedy="Close other programs, or restore it")
    return con


@contextmanager
def transaction(con: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; the write lock is taken at once."""
    con.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        con.execute("ROLLBACK")
        raise
    con.execute("COMMIT")


def fill_wanted(con: sqlite3.Connection, tokens: list[str]) -> None:
    """Puts `tokens` into the temp table `wanted`, to join against."""
    con.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (token TEXT PRIMARY KEY) WITHOUT ROWID")
    con.execute("DELETE FROM wanted")
    con.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((token,) for token in tokens))
