"""The consent ledger: appends records to the hash chain, tells its head, verifies it, hands it to the warehouse.

Not here: reading deliveries (`importer.py`), and what the records mean (the dbt models)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Engine, select

from orchestration.consent import staging
from orchestration.consent.append import Appender
from orchestration.consent.chain import GENESIS, first_bad
from orchestration.consent.detail import DetailSealer
from orchestration.consent.models import (
    COLUMNS,
    DETAILS,
    EVENTS,
    AppendReport,
    Record,
    microseconds,
)
from orchestration.consent.store import head, open_engine, raw_chunks, writing
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.policy.schema import Policy
from orchestration.settings import IN_HOME, LedgerAt


class Ledger:
    """One ledger. Reading needs nothing else; appending needs the registry of subjects and the keys."""

    def __init__(
        self, engine: Engine, is_append_only: bool, registry: SubjectRegistry | None, keys: Keys | None
    ) -> None:
        self._engine, self._registry = engine, registry
        self.is_append_only = is_append_only  # whether the triggers that refuse UPDATE and DELETE were all there
        self._sealer = None if keys is None else DetailSealer(keys)

    @classmethod
    def open(cls, url_or_path: str | Path, registry: SubjectRegistry | None = None, keys: Keys | None = None) -> Ledger:
        """The ledger at a path or SQLAlchemy URL, made on first use."""
        return cls(*open_engine(url_or_path), registry, keys)

    def close(self) -> None:
        self._engine.dispose()

    @property
    def sealer(self) -> DetailSealer:
        if self._sealer is None:
            raise VerifyError("the ledger was opened without keys", remedy="Open it with the keys of its home")
        return self._sealer

    def head(self) -> tuple[int, str]:
        """Sequence and hash of the last record; (0, genesis) for an empty ledger."""
        with self._engine.begin() as connection:
            return head(connection)

    def holds(self, head: tuple[int, str]) -> bool:
        """Whether `head` is on record: a ledger without it is older, another one, or has grown on after a cut."""
        if head[0] == 0:
            return head[1] == GENESIS
        with self._engine.begin() as connection:
            found = connection.execute(select(EVENTS.c.hash).where(EVENTS.c.seq == head[0])).scalar_one_or_none()
        return found is not None and found == head[1]

    def append(self, records: Sequence[Record], now: datetime, *, once: Sequence[Record] = ()) -> AppendReport:
        """Appends what is new, in one transaction. A known id with the same body is a duplicate; with another body it
        is a conflict: not appended, but a presumed denial is, for every subject and scope that either body names.

        `once`: records that Assent itself concludes; only the first with an id counts, whatever a later one says."""
        if not records and not once:
            return AppendReport(0, 0, 0)
        refs, at = self._refs([*records, *once]), microseconds(now)
        with writing(self._engine) as connection:
            appender = Appender(connection, self.sealer, refs, at)
            return appender.append(records) + appender.append_once(once)

    def _refs(self, records: Sequence[Record]) -> dict[str, str]:
        if self._registry is None:
            raise VerifyError("the ledger was opened for reading", remedy="Open it with the registry of its home")
        named = {s.token: s for r in records for s in (r.subject, r.other) if s is not None}
        return self._registry.refs([(s.token, s.kind, s.issuer) for s in named.values()])

    def verify(self) -> int | None:
        """The first bad sequence, or None. With keys, details that are still there must match their commitments."""
        with self._engine.begin() as connection:
            bad = first_bad(_rows(connection, f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY seq"))
            return bad if bad is not None or self._sealer is None else self._bad_detail(connection)

    def _bad_detail(self, connection: Connection) -> int | None:
        query = """SELECT d.seq, e.event_key, d.payload, e.detail_commitment
                   FROM details d LEFT JOIN events e ON e.seq = d.seq ORDER BY d.seq"""
        for seq, event_key, payload, committed in _rows(connection, query):
            if event_key is None or self.sealer.open(event_key, payload, committed) is None:
                return int(seq)
        return None

    def last_of_delivery(self, feed: str, delivery: str) -> tuple[int, str | None]:
        """Sequence and state of the last report on one delivery of a feed; (0, None) before the first."""
        query = (
            select(EVENTS.c.seq, EVENTS.c.state)
            .where(EVENTS.c.type == "feed", EVENTS.c.feed == feed, EVENTS.c.batch == delivery)
            .order_by(EVENTS.c.seq.desc())
            .limit(1)
        )
        with self._engine.begin() as connection:
            found = connection.execute(query).one_or_none()
        return (0, None) if found is None else (int(found[0]), found[1])

    def export_arrow(self, since: int = 0, until: int | None = None) -> dict[str, pa.Table]:
        """The records after `since` up to `until`, one table per type, with `subject_ref` instead of the subject."""
        with self._engine.begin() as connection:
            return staging.export_arrow(connection, since, until)

    def staged(
        self, registry: SubjectRegistry, policy: Policy, *, since: int = 0, until: int | None = None
    ) -> dict[str, pa.Table]:
        """The same with token, kind and issuer, as the warehouse reads them; and `feeds`, a row per feed in `policy`.
        Records of a subject that the registry has forgotten (erased) are left out."""
        return staging.resolve_subjects(self.export_arrow(since, until), registry.mapping_arrow(), policy)

    def subject_rows(self, subject_refs: Sequence[str]) -> list[dict[str, Any]]:
        """Every record of these subjects, links from either end included, in sequence; `detail` where not erased."""
        query = (
            select(*EVENTS.c, DETAILS.c.payload)
            .select_from(EVENTS.outerjoin(DETAILS, EVENTS.c.seq == DETAILS.c.seq))
            .where(EVENTS.c.subject_ref.in_(subject_refs) | EVENTS.c.object_ref.in_(subject_refs))
            .order_by(EVENTS.c.seq)
        )
        with self._engine.begin() as connection:
            found = [dict(row._mapping) for row in connection.execute(query)]
        for row in found:
            payload = row.pop("payload")
            row["detail"] = payload and self.sealer.open(row["event_key"], payload, row["detail_commitment"])
        return found


def _rows(connection: Connection, sql: str) -> Iterator[Sequence[Any]]:
    return itertools.chain.from_iterable(raw_chunks(connection, sql))


@contextmanager
def open_ledger(home: Home, keys: Keys, at: LedgerAt = IN_HOME) -> Iterator[tuple[Ledger, SubjectRegistry]]:
    """The ledger of a home, or elsewhere, ready to append, with its registry; both closed at the end."""
    with SubjectRegistry(home, keys) as registry:
        ledger = Ledger.open(at.url or home.ledger_db, registry, keys)
        try:
            yield ledger, registry
        finally:
            ledger.close()
