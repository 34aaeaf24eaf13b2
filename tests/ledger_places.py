"""Where a test's ledger is: SQLite in the home, or a database of the session's PostgreSQL server.

`Place` is what an administrator could do there; what Assent does goes through `LedgerAt` as anywhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import Record, Subject
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.settings import LedgerAt, Settings
from orchestration.verify import verify_ledger
from tests.postgres import LOGIN, OWNER, Server

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ANNE, BEA = Subject("a" * 32, "phone", "e164"), Subject("b" * 32, "phone", "e164")
Opened = tuple[Ledger, SubjectRegistry]
ENGINES = ("sqlite", "postgresql")
REFUSED = (sqlite3.DatabaseError, psycopg.Error)
OURS = {"events": ("events_refuse_change", "events_refuse_fork"), "details": ("details_refuse_change",)}


@dataclass(frozen=True)
class Place:
    """One ledger of one home. `database` is None where it is a file of the home."""

    home: Home
    server: Server | None = None
    database: str | None = None

    @property
    def engine(self) -> str:
        return "sqlite" if self.server is None else "postgresql"

    @property
    def at(self) -> LedgerAt:
        return LedgerAt() if self.server is None else LedgerAt(self._url(LOGIN))

    @property
    def owner_url(self) -> str:
        return f"sqlite+pysqlite:///{self.home.ledger_db}" if self.server is None else self._url(OWNER)

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home.root, ledger_url=self.at.url)

    def _url(self, user: str) -> str:
        assert self.server is not None and self.database is not None
        return self.server.url(self.database, user)

    def sql(self, *statements: str, user: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs them past Assent, as the superuser where there is one. Returns the rows of the last."""
        connection: Any
        if self.server is None:
            connection = sqlite3.connect(self.home.ledger_db)
        else:
            connection = self.server.connect(self.database or "", user)
        with closing(connection), connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def tamper(self, *statements: str) -> None:
        """What an administrator could do: switch the triggers off, alter, switch them on again."""
        if self.server is None:
            triggers = self.sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            self.sql(*(f"DROP TRIGGER {name}" for name, _ in triggers), *statements, *(sql for _, sql in triggers))
            return
        off = [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in OURS]
        on = [f"ALTER TABLE {table} ENABLE TRIGGER ALL" for table in OURS]
        ours = [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}" for table, names in OURS.items() for name in names]
        self.sql(*off, *statements, *on, *ours)

    def blob(self, data: bytes) -> str:
        """The literal of these bytes."""
        return f"x'{data.hex()}'" if self.server is None else f"'\\x{data.hex()}'::bytea"

    def stored(self) -> bytes:
        """Every byte on disk."""
        if self.server is None:
            return b"".join(path.read_bytes() for path in self.home.root.glob("ledger.sqlite*"))
        self.sql("CHECKPOINT")
        (row,) = self.sql(f"SELECT oid FROM pg_database WHERE datname = '{self.database}'")
        files = [*(self.server.socket / "data" / "base" / str(row[0])).iterdir(),
                 *(self.server.socket / "data" / "pg_wal").glob("0*")]  # fmt: skip
        return b"".join(path.read_bytes() for path in files)

    def verdicts(self) -> dict[str, bool]:
        """What `assent verify ledger` says of the ledger by itself."""
        found = {verdict.name: verdict.passed for verdict in verify_ledger(self.settings, self.home)}
        return {name: found[name] for name in ("hash chain", "append-only")}


def make_place(engine: str, folder: Path, request: pytest.FixtureRequest) -> Place:
    """A new home in `folder` with an empty ledger."""
    home = Home.open(folder / "home", demo_seed=1)
    if engine == "sqlite":
        return Place(home)
    server: Server = request.getfixturevalue("postgres_server")
    return Place(home, server, server.ledger())


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = make_place(request.param, tmp_path, request)
    yield made
    if made.server is not None:
        made.server.drop(made.database or "")


@pytest.fixture
def opened(place: Place) -> Iterator[Opened]:
    with open_ledger(place.home, Keys.open(place.home), place.at) as opened:
        yield opened


def grant(event_id: str, subject: Subject | None = ANNE, **changes: Any) -> Record:
    record = Record(
        event_id=event_id,
        type="consent",
        feed="consent_center",
        subject=subject,
        controller="shop",
        purpose="sms_marketing",
        decision="grant",
        effective_at=NOW - timedelta(days=1),
        detail={"surface": "checkout", "actor": "till-7"},
    )
    return replace(record, **changes)


def five(opened: Opened) -> None:
    opened[0].append([grant(f"e{i}") for i in range(1, 6)], NOW)
