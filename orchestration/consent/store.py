"""Opens the ledger's database: engine, schema, and the triggers that make it append-only. Not here: records."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select
from sqlalchemy.exc import ArgumentError

from orchestration.consent.chain import GENESIS
from orchestration.consent.models import COLUMNS, EVENTS, METADATA
from orchestration.errors import HomeError

READ_CHUNK = 20_000
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


def open_engine(url_or_path: str | Path) -> tuple[Engine, bool]:
    """The engine of a ledger, created if absent, and whether it was append-only as found. A trigger that is
    missing or altered stays so, for `verify` to tell of. Errors of its statements never show parameters."""
    engine = _engine(url_or_path)
    with engine.execution_options(is_writer=True).begin() as connection:
        is_new = not inspect(connection).has_table("events")
        METADATA.create_all(connection)
        was_append_only = is_new or _is_append_only(connection)
        if is_new:
            for name, body in TRIGGERS.items():
                connection.exec_driver_sql(f"CREATE TRIGGER {name} {body}")
    return engine, was_append_only


def _engine(url_or_path: str | Path) -> Engine:
    if isinstance(url_or_path, Path):
        os.close(os.open(url_or_path, os.O_CREAT | os.O_RDWR, 0o600))
        url = make_url("sqlite+pysqlite://").set(database=str(url_or_path))
    else:
        url = _checked_url(url_or_path)
    engine = create_engine(url, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _checked_url(text: str) -> URL:
    """Refuses engines whose triggers are not written: a ledger that can be altered would look like one that cannot."""
    with contextlib.suppress(ArgumentError):
        url = make_url(text)
        if url.get_backend_name() == "sqlite":
            return url
    raise HomeError(
        "the ledger cannot be kept there: its append-only triggers exist for SQLite only",
        where="ASSENT_LEDGER_URL",
        remedy="Unset it, or give sqlite+pysqlite:///PATH",
    )


def _configure(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin`, not guessed by the driver
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "foreign_keys = ON",
        "busy_timeout = 30000",
        "cache_size = -65536",  # 64 MiB: with the default 2 MiB the random keys' index spills, and appending takes 1.7x
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Writers take the lock before they read the head, so that two of them never fork the chain (fault D6)."""
    is_writer = connection.get_execution_options().get("is_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def _is_append_only(connection: Connection) -> bool:
    """Whether every trigger is there, word for word."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
    found = {str(name): " ".join(str(sql).split()) for name, sql in rows}
    return all(found.get(n) == " ".join(f"CREATE TRIGGER {n} {body}".split()) for n, body in TRIGGERS.items())


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction. The writers' lock is taken before anything is read."""
    with engine.execution_options(is_writer=True).begin() as connection:
        yield connection


def head(connection: Connection) -> tuple[int, str]:
    """Sequence and hash of the last record; (0, genesis) for an empty ledger."""
    last = select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)
    found = connection.execute(last).one_or_none()
    return (0, GENESIS) if found is None else (int(found[0]), str(found[1]))


def known_rows(connection: Connection, event_keys: Sequence[str]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The records with these keys: `COLUMNS`, then the payload of their detail (None when it is erased)."""
    columns = ", ".join(f"e.{column}" for column in COLUMNS)
    marks = ", ".join("?" * len(event_keys))
    query = f"SELECT {columns}, d.payload FROM events e LEFT JOIN details d ON d.seq = e.seq"
    return raw_chunks(connection, f"{query} WHERE e.event_key IN ({marks})", tuple(event_keys))


def insert_rows(
    connection: Connection, events: Sequence[tuple[Any, ...]], details: Sequence[tuple[int, bytes]]
) -> None:
    """Inserts records (`COLUMNS`) and the payloads of their details."""
    marks = ", ".join("?" * len(COLUMNS))
    connection.exec_driver_sql(f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({marks})", list(events))
    connection.exec_driver_sql("INSERT INTO details (seq, payload) VALUES (?, ?)", list(details))


def raw_chunks(
    connection: Connection, sql: str, parameters: tuple[Any, ...] = ()
) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Rows straight from the driver, many at a time: SQLAlchemy's row objects would cost as much as the hashing."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, parameters)
        while rows := cursor.fetchmany(READ_CHUNK):
            yield rows
    finally:
        cursor.close()
