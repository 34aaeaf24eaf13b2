"""Opens the ledger's database, and reads and writes it in transactions whose errors carry no values.

Not here: what differs by engine (`sqlite.py`, `postgres.py`), the tables (`models.py`, `migrations/`), records."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, delete, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from orchestration.consent.chain import GENESIS
from orchestration.consent.database import postgres, sqlite
from orchestration.consent.models import COLUMNS, DETAILS, EVENTS
from orchestration.errors import HomeError

Chunks = Iterator[Sequence[tuple[Any, ...]]]
WHERE = "ledger"


class Backend(Protocol):
    """What an engine does in its own way."""

    def make_engine(self, url: URL) -> Engine: ...
    def install_guards(self, connection: Connection) -> None: ...
    def append_only_gap(self, connection: Connection) -> str | None: ...
    def insert_rows(
        self, connection: Connection, events: Sequence[tuple[Any, ...]], details: Sequence[tuple[int, bytes]]
    ) -> None: ...
    def known_rows(self, connection: Connection, select: str, event_keys: Sequence[str]) -> Chunks: ...
    def raw_chunks(self, connection: Connection, sql: str) -> Chunks: ...


BACKENDS: dict[str, Backend] = {"sqlite": sqlite, "postgresql": postgres}
DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}


def backend(bound: Connection | Engine) -> Backend:
    return BACKENDS[bound.dialect.name]


def make_engine(at: str | Path) -> Engine:
    """The engine of the ledger at a path or SQLAlchemy URL; nothing is asked of the database yet."""
    url = make_url("sqlite+pysqlite://").set(database=str(at)) if isinstance(at, Path) else _checked_url(at)
    return BACKENDS[url.get_backend_name()].make_engine(url)


def _checked_url(text: str) -> URL:
    """Refuses engines whose triggers are not written: a ledger that can be altered would look like one that cannot."""
    with contextlib.suppress(ArgumentError):
        url = make_url(text)
        engine = url.get_backend_name()
        in_memory = engine == "sqlite" and (url.database or ":memory:") == ":memory:"
        if url.drivername in (engine, DRIVERS.get(engine)) and engine in DRIVERS and not in_memory:
            return url.set(drivername=DRIVERS[engine])
    raise HomeError(
        "the ledger cannot be kept there: its append-only triggers exist for SQLite files and PostgreSQL only",
        where="ASSENT_LEDGER_URL",
        remedy="Unset it, or give sqlite+pysqlite:///PATH or postgresql+psycopg://…",
    )


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that sees one state of the ledger."""
    with _plain_errors(engine), engine.begin() as connection:
        yield connection


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction. The writers' lock is taken before anything is read; waiting for it has an end."""
    with _plain_errors(engine), engine.execution_options(is_writer=True).begin() as connection:
        yield connection


@contextlib.contextmanager
def _plain_errors(engine: Engine) -> Iterator[None]:
    """Errors of the database quote values, hosts and users, so they are told by their kind alone."""
    try:
        yield
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        raise _plain(error.orig if isinstance(error, DBAPIError) and error.orig else error) from None


def _plain(error: BaseException) -> HomeError:
    if _is_busy(error):
        return HomeError(
            "another process is writing to the ledger", where=WHERE, remedy="Wait until it ends, then run again"
        )
    return HomeError(
        f"its database cannot be used ({type(error).__name__})",
        where=WHERE,
        remedy="Check that it is up, that its login and rights are those of this ledger, and that its disk has room",
    )


def _is_busy(error: BaseException) -> bool:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # SQLite's extended codes add to it
    return primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or getattr(error, "sqlstate", None) == "55P03"


def head(connection: Connection) -> tuple[int, str]:
    """Sequence and hash of the last record; (0, genesis) for an empty ledger."""
    last = select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)
    found = connection.execute(last).one_or_none()
    return (0, GENESIS) if found is None else (int(found[0]), str(found[1]))


def known_rows(connection: Connection, event_keys: Sequence[str]) -> Chunks:
    """The records with these keys: `COLUMNS`, then the payload of their detail (None when it is erased)."""
    columns = ", ".join(f"e.{column}" for column in COLUMNS)
    query = f"SELECT {columns}, d.payload FROM events e LEFT JOIN details d ON d.seq = e.seq WHERE e.event_key"
    return backend(connection).known_rows(connection, query, event_keys)


def insert_rows(
    connection: Connection, events: Sequence[tuple[Any, ...]], details: Sequence[tuple[int, bytes]]
) -> None:
    """Inserts records (`COLUMNS`) and the payloads of their details."""
    backend(connection).insert_rows(connection, events, details)


def erase_details(connection: Connection, subject_refs: Iterable[str]) -> None:
    """Deletes what was said of these people beside the chain. Their records stay, and verify; salts are gone with it.
    Only a login that may delete details can do it; where there are none it is not asked to."""
    for ref in sorted(subject_refs):
        of_ref = select(EVENTS.c.seq).where((EVENTS.c.subject_ref == ref) | (EVENTS.c.object_ref == ref))
        if connection.execute(select(DETAILS.c.seq).where(DETAILS.c.seq.in_(of_ref)).limit(1)).first():
            connection.execute(delete(DETAILS).where(DETAILS.c.seq.in_(of_ref)))


def raw_chunks(connection: Connection, sql: str) -> Chunks:
    """Rows straight from the driver, many at a time: SQLAlchemy's row objects would cost as much as the hashing."""
    return backend(connection).raw_chunks(connection, sql)
