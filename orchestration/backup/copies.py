"""Online copies of the databases of a home, consistent while others write; and the way back of the ledger.

A backup holds the ledger as a SQLite file, whatever engine it came from, so that it can be restored to either."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from orchestration.consent.database.migrate import open_engine
from orchestration.consent.database.store import insert_rows, raw_chunks, reading, writing
from orchestration.consent.ledger import Ledger
from orchestration.consent.models import COLUMNS
from orchestration.errors import HomeError, VerifyError
from orchestration.identity.keys import Keys

Head = tuple[int, str]


def copy_sqlite(source: Path, target: Path) -> None:
    """A copy of a SQLite file as one transaction sees it, with what a write-ahead log still holds."""
    target.touch(mode=0o600)
    failed = False
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")
            failed = new.execute("PRAGMA quick_check").fetchone() != ("ok",)
    except sqlite3.DatabaseError:
        failed = True
    if failed:
        raise HomeError("the file is damaged", where=str(source), remedy="Restore it from an earlier backup")


def copy_ledger(ledger_at: str | Path, target: Path) -> None:
    """The ledger at a path or URL as one SQLite file, as one transaction sees it."""
    if isinstance(ledger_at, Path):
        copy_sqlite(ledger_at, target)
    else:
        copy_rows(ledger_at, target)


def verified_head(ledger_file: Path, keys: Keys | None = None) -> Head:
    """The head of a ledger whose chain holds, and with `keys` its details too. Raises VerifyError."""
    ledger = Ledger.open(ledger_file, keys)
    try:
        bad, head = ledger.verify(), ledger.head()
    finally:
        ledger.close()
    if bad is not None:
        raise VerifyError(f"the ledger does not verify from record {bad}", remedy="Run `assent verify ledger`")
    return head


def copy_rows(source: str | Path, target: str | Path) -> None:
    """Copies the records of one ledger, as one transaction sees them, into another that is empty: all or none."""
    old, new = open_engine(source), open_engine(target)
    try:
        with reading(old) as connection, writing(new) as into:
            columns = ", ".join(f"e.{name}" for name in COLUMNS)
            query = f"SELECT {columns}, d.payload FROM events e LEFT JOIN details d ON d.seq = e.seq ORDER BY e.seq"
            for rows in raw_chunks(connection, query):
                details = [(row[0], bytes(row[-1])) for row in rows if row[-1] is not None]
                insert_rows(into, [tuple(row[:-1]) for row in rows], details)
    finally:
        old.dispose()
        new.dispose()
