"""Opens the SQLite files of the home that hold personal data: private, durable, and deleted bytes are overwritten."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestration.errors import HomeError

WAIT_SECONDS = 10  # for another process


def connect(path: Path, schema: str) -> sqlite3.Connection:
    """A connection to `path` (0600) with `schema` (CREATE … IF NOT EXISTS) in place. Transactions are explicit."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    failed = False
    try:
        con = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
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
    """All or nothing; the write lock is taken at once. Raises HomeError where others keep it for WAIT_SECONDS."""
    _unless_busy(con, "BEGIN IMMEDIATE")
    try:
        yield
        _unless_busy(con, "COMMIT")  # which waits for readers
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


def _unless_busy(con: sqlite3.Connection, statement: str) -> None:
    try:
        con.execute(statement)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        file = Path(con.execute("PRAGMA database_list").fetchone()[2])
        raise HomeError(
            "another process is writing to it", where=file.name, remedy="Wait until it ends, then run again"
        ) from None


def compact(con: sqlite3.Connection) -> None:
    """Writes the whole file anew, without what was deleted. In place and not beside: another process that has it open
    would go on with the old one. SQLite locks the others out, and a kill leaves the old file or the new one."""
    _unless_busy(con, "VACUUM")


def fill_wanted(con: sqlite3.Connection, tokens: list[str]) -> None:
    """Puts `tokens` into the temp table `wanted`, to join against."""
    con.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (token TEXT PRIMARY KEY) WITHOUT ROWID")
    con.execute("DELETE FROM wanted")
    con.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((token,) for token in tokens))
