"""The ledger on SQLite: its engine, the triggers that make it append-only, and its forms of a few statements.

Not here: transactions and what both engines share (`store.py`)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from orchestration.consent.chain import GENESIS
from orchestration.consent.models import COLUMNS

READ_CHUNK = 20_000
WAIT_SECONDS = 30  # for another writer
# REPLACE deletes without firing delete triggers, so the insert itself is checked: the next
# number, the right predecessor, a new key.
TRIGGERS = {
    "events_refuse_update": "BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "events_refuse_delete": "BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "events_refuse_fork": f"""BEFORE INSERT ON events
        WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
          OR NEW.prev_hash IS NOT coalesce((SELECT hash FROM events WHERE seq = NEW.seq - 1), '{GENESIS}')
          OR EXISTS (SELECT 1 FROM events WHERE event_key = NEW.event_key)
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    "details_refuse_update": "BEFORE UPDATE ON details BEGIN SELECT RAISE(ABORT, 'details are never altered'); END",
}


def make_engine(url: URL) -> Engine:
    """The engine of the file that `url` names, which is made private before anything is in it."""
    os.close(os.open(Path(url.database or ""), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", begin)
    return engine


def configure(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun by `begin`, not guessed by the driver
    for pragma in (
        f"busy_timeout = {round(WAIT_SECONDS * 1000)}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "foreign_keys = ON",
        "cache_size = -65536",  # 64 MiB: with the default 2 MiB the random keys' index spills, and appending takes 1.7x
    ):
        connection.execute(f"PRAGMA {pragma}")


def begin(connection: Connection) -> None:
    """Writers take the lock before they read the head, so that two of them never fork the chain (fault D6)."""
    is_writer = connection.get_execution_options().get("is_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def install_guards(connection: Connection) -> None:
    for name, body in TRIGGERS.items():
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        connection.exec_driver_sql(f"CREATE TRIGGER {name} {body}")


def append_only_gap(connection: Connection) -> str | None:
    """What keeps the ledger from being append-only; None where every trigger is there, word for word."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
    found = {str(name): " ".join(str(sql).split()) for name, sql in rows}
    for name, body in TRIGGERS.items():
        if found.get(name) != " ".join(f"CREATE TRIGGER {name} {body}".split()):
            return f"the trigger {name} is missing or altered"
    return None


def checkpoint(connection: Connection) -> None:
    """Empties the write-ahead log, which holds pages as they were; what was deleted is overwritten in the file."""
    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def insert_rows(
    connection: Connection, events: Sequence[tuple[Any, ...]], details: Sequence[tuple[int, bytes]]
) -> None:
    marks = ", ".join("?" * len(COLUMNS))
    connection.exec_driver_sql(f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({marks})", list(events))
    if details:  # SQLAlchemy takes an empty list for one row without parameters
        connection.exec_driver_sql("INSERT INTO details (seq, payload) VALUES (?, ?)", list(details))


def known_rows(connection: Connection, select: str, event_keys: Sequence[str]) -> Iterator[Sequence[tuple[Any, ...]]]:
    return _fetched(connection, f"{select} IN ({', '.join('?' * len(event_keys))})", tuple(event_keys))


def raw_chunks(connection: Connection, sql: str) -> Iterator[Sequence[tuple[Any, ...]]]:
    return _fetched(connection, sql, ())


def _fetched(connection: Connection, sql: str, parameters: tuple[Any, ...]) -> Iterator[Sequence[tuple[Any, ...]]]:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, parameters)
        while rows := cursor.fetchmany(READ_CHUNK):
            yield rows
    finally:
        cursor.close()
