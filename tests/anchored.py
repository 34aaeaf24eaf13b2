"""A ledger with its anchor, and what an administrator could do to either."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.consent.anchoring.anchor import Anchor, Pen, Registry
from orchestration.consent.anchoring.restrictions import Restriction
from orchestration.consent.anchoring.signed_heads import Head
from orchestration.consent.append import Appender
from orchestration.consent.chain import row_hash
from orchestration.consent.database.migrate import open_engine
from orchestration.consent.database.store import writing
from orchestration.consent.ledger import Ledger
from orchestration.consent.models import CHAINED, COLUMNS, Record, Subject, microseconds
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.settings import IN_HOME, LedgerAt
from tests.ledger_places import ANNE, BEA, NOW, grant

__all__ = ["ANNE", "BEA", "NOW", "grant"]


class Killed(Exception):  # noqa: N818
    """The process ended here."""


class Mortal(Anchor):
    """An anchor whose writer dies before the step that `kill` names."""

    kill = ""

    @contextmanager
    def writing(self, registry: Registry, now: datetime) -> Iterator[Pen]:
        with super().writing(registry, now) as pen:
            journal, sign = pen.journal, pen.sign

            def die_before_commit(head: Head, restrictions: Sequence[Restriction]) -> None:
                journal(head, restrictions)
                if self.kill == "commit":
                    raise Killed

            def die_before_signing(head: Head) -> None:
                if self.kill == "sign" and head[0]:  # nothing precedes the first signature of an empty ledger
                    raise Killed
                sign(head)

            pen.journal, pen.sign = die_before_commit, die_before_signing  # type: ignore[method-assign]
            yield pen


@dataclass
class Anchored:
    """A ledger with its registry and its anchor."""

    ledger: Ledger
    registry: SubjectRegistry
    keys: Keys
    anchor: Mortal

    def append(self, *records: Record, kill: str = "", now: datetime = NOW) -> None:
        self.anchor.kill = kill
        self.ledger.append(records, now)

    def bypass(self, *records: Record) -> None:
        """What a writer would do that knows of no anchor."""
        named = {s.token: s for r in records for s in (r.subject, r.other) if s is not None}
        refs = self.registry.refs(list(named.values()))
        with writing(self.ledger._engine) as connection:
            Appender(connection, self.ledger.sealer, refs, microseconds(NOW)).append(records)

    def check(self) -> None:
        self.anchor.check(self.ledger.head(), self.ledger.holds, self.registry)


@contextmanager
def opened(home: Home, at: LedgerAt = IN_HOME, keys: Keys | None = None) -> Iterator[Anchored]:
    """Opens without the check that `open_ledger` makes."""
    keys = keys or Keys.open(home)
    anchor = Mortal(home, keys, at)
    with SubjectRegistry(home, keys) as registry:
        ledger = Ledger(open_engine(home.ledger_db), registry, keys, anchor)
        with closing(ledger):
            yield Anchored(ledger, registry, keys, anchor)


def withdrawal(event_id: str, subject: Subject = ANNE, **changes: Any) -> Record:
    return grant(event_id, subject, decision="withdraw", **changes)


def copy_of(home: Home, to: Path) -> Path:
    """A copy of the ledger alone, as of now."""
    with closing(sqlite3.connect(home.ledger_db)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)
    return to


def put_back(home: Home, copy: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{home.ledger_db}{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, home.ledger_db)


def tamper(path: Path, *statements: str, rechain: bool = False) -> None:
    """What somebody with the file could do: drop the triggers, alter, chain anew, put the triggers back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        if rechain:
            _rechain(connection)
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _rechain(connection: sqlite3.Connection) -> None:
    from orchestration.consent.chain import GENESIS

    previous = GENESIS
    for values in connection.execute(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY seq").fetchall():
        row = {**dict(zip(COLUMNS, values, strict=True)), "prev_hash": previous}
        previous = row_hash([row[name] for name in CHAINED])
        query = "UPDATE events SET prev_hash = ?, hash = ? WHERE seq = ?"
        connection.execute(query, (row["prev_hash"], previous, row["seq"]))
