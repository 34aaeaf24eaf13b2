"""The consent ledger: appends records to the hash chain, tells its head, verifies it, hands it to the warehouse.

Not here: reading deliveries (`importer.py`), and what the records mean (the dbt models)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from sqlalchemy import Connection, Engine, select

from orchestration.consent import staging
from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.anchoring.restrictions import restrictions_since
from orchestration.consent.append import Appender
from orchestration.consent.chain import GENESIS, SCANNED, first_bad
from orchestration.consent.database.migrate import open_engine, revision
from orchestration.consent.database.store import backend, head, raw_chunks, reading, writing
from orchestration.consent.detail import DetailSealer
from orchestration.consent.models import (
    DETAILS,
    EVENTS,
    OF_FEEDS,
    AppendReport,
    Record,
    microseconds,
)
from orchestration.consent.postings import Posting
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.policy.schema import Policy
from orchestration.retention.suppressions import Suppressions
from orchestration.settings import IN_HOME, LedgerAt

R = TypeVar("R", Record, Posting, Record | Posting)


class Ledger:
    """One ledger. Reading needs nothing else; appending needs the registry of subjects, the keys and the anchor."""

    def __init__(
        self,
        engine: Engine,
        registry: SubjectRegistry | None = None,
        keys: Keys | None = None,
        anchor: Anchor | None = None,
        erased: Suppressions | None = None,
    ) -> None:
        self._erased = erased
        self._engine, self._registry, self._anchor = engine, registry, anchor
        self._sealer = None if keys is None else DetailSealer(keys)

    @classmethod
    def open(cls, url_or_path: str | Path, keys: Keys | None = None) -> Ledger:
        """The ledger at a path or SQLAlchemy URL, to read. A file is made on first use; see `migrate.open_engine`."""
        return cls(open_engine(url_or_path), keys=keys)

    @property
    def erased(self) -> Suppressions | None:
        """Who was erased, where it was opened to append."""
        return self._erased

    def close(self) -> None:
        self._engine.dispose()

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def engine_name(self) -> str:
        return self._engine.dialect.name

    @property
    def revision(self) -> str | None:
        with self.reading() as connection:
            return revision(connection)

    @property
    def append_only_gap(self) -> str | None:
        """What would let a record be altered: a trigger that is gone, a login that may. None: nothing. In words."""
        with self.reading() as connection:
            return backend(connection).append_only_gap(connection)

    @property
    def is_append_only(self) -> bool:
        return self.append_only_gap is None

    @property
    def sealer(self) -> DetailSealer:
        if self._sealer is None:
            raise VerifyError("the ledger was opened without keys", remedy="Open it with the keys of its home")
        return self._sealer

    def head(self) -> tuple[int, str]:
        """Sequence and hash of the last record; (0, genesis) for an empty ledger."""
        with self.reading() as connection:
            return head(connection)

    def holds(self, head: tuple[int, str]) -> bool:
        """Whether `head` is on record: a ledger without it is older, another one, or has grown on after a cut."""
        with self.reading() as connection:
            return holds(connection, head)

    def append(
        self, records: Sequence[Record | Posting], now: datetime, *, once: Sequence[Record] = ()
    ) -> AppendReport:
        """Appends what is new, in one transaction. A known id with the same body is a duplicate; with another body it
        is a conflict: not appended, but a presumed denial is, for every subject and scope that either body names.

        `once`: records that Assent itself concludes; only the first with an id counts, whatever a later one says.
        What is about somebody who was erased is not recorded (F5). When it returns, what restricts is in the anchor's
        journal and the new head is signed: a receipt may be given.
        Raises AnchorError where ledger or registry do not reach their anchor, or that cannot be written."""
        if not records and not once:
            return AppendReport(0, 0, 0)
        if self._registry is None or self._anchor is None:
            raise VerifyError("the ledger was opened for reading", remedy="Open it with the registry of its home")
        given, (places, records) = records, self._not_erased(records)
        once = self._not_erased(once)[1]
        refs, at = _refs(self._registry, [*records, *once]), microseconds(now)
        with self._anchor.writing(self._registry, now) as pen:
            with writing(self._engine) as connection:
                before = head(connection)
                pen.begin(before, partial(holds, connection))
                appender = Appender(connection, self.sealer, refs, at)
                report = appender.append(records) + appender.append_once(once)
                after = head(connection)
                pen.journal(after, restrictions_since(connection, before[0], self.sealer, self._registry))
            pen.sign(after)
        positions = tuple(places[position] for position in report.conflict_positions)
        return replace(report, conflict_positions=positions, suppressed=len(given) - len(records))

    def _not_erased(self, records: Sequence[R]) -> tuple[Sequence[int], Sequence[R]]:
        """Those that are about nobody who was erased, each with its position."""
        if not self._erased:
            return range(len(records)), records
        tokens = {s.token for r in records for s in (r.subject, r.other) if s is not None}
        erased = self._erased.holds(tokens)
        kept = [
            (position, record)
            for position, record in enumerate(records)
            if not any(s is not None and s.token in erased for s in (record.subject, record.other))
        ]
        return [position for position, _ in kept], [record for _, record in kept]

    def verify(self) -> int | None:
        """The first bad sequence, or None. With keys, details that are still there must match their commitments."""
        with self.reading() as connection:
            bad = first_bad(_rows(connection, f"SELECT {', '.join(SCANNED)} FROM events ORDER BY seq"))
            return bad if bad is not None or self._sealer is None else self._bad_detail(connection)

    def _bad_detail(self, connection: Connection) -> int | None:
        query = """SELECT d.seq, e.event_key, d.payload, e.detail_commitment
                   FROM details d LEFT JOIN events e ON e.seq = d.seq ORDER BY d.seq"""
        for seq, event_key, payload, committed in _rows(connection, query):
            if event_key is None or not self.sealer.holds(event_key, payload, committed):
                return int(seq)
        return None

    def last_of_delivery(self, feed: str, delivery: str) -> tuple[int, str | None]:
        """Sequence and state of the last report on one delivery of a feed; (0, None) before the first."""
        query = (
            select(EVENTS.c.seq, EVENTS.c.state)
            .where(OF_FEEDS, EVENTS.c.feed == feed, EVENTS.c.batch == delivery)
            .order_by(EVENTS.c.seq.desc())
            .limit(1)
        )
        with self.reading() as connection:
            found = connection.execute(query).one_or_none()
        return (0, None) if found is None else (int(found[0]), found[1])

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read transaction, for modules that ask in their own words, e.g. `receipts.py`."""
        with reading(self._engine) as connection:
            yield connection

    def records(self, since: int, until: int | None) -> pa.Table:
        """The records after `since` up to `until`, in sequence, with the columns of `staging.RECORDS`."""
        with self.reading() as connection:
            return staging.read_records(connection, since, until)

    def export_arrow(self, since: int = 0, until: int | None = None) -> dict[str, pa.Table]:
        """The records after `since` up to `until`, one table per type, with `subject_ref` instead of the subject."""
        return staging.split_by_type(self.records(since, until))

    def staged(
        self, registry: SubjectRegistry, policy: Policy, *, since: int = 0, until: int | None = None
    ) -> dict[str, pa.Table]:
        """The same with token, kind and issuer, as the warehouse reads them; and `feeds`, a row per feed in `policy`.
        Records of a subject that the registry has forgotten (erased) are left out."""
        tables = self.export_arrow(since, until)
        return staging.resolve_subjects(tables, staging.subjects_of(tables, registry), policy)

    def feeds(self, policy: Policy) -> pa.Table:
        """When each consent feed of the policy was last heard, and whether it is incomplete, by the whole ledger."""
        with self.reading() as connection:
            return staging.feed_states(staging.read_feed_reports(connection), policy)

    def requests(self) -> list[dict[str, Any]]:
        """What people have asked for, in sequence."""
        columns = [
            EVENTS.c[name] for name in ("seq", "fact", "state", "controller", "effective_at", "recorded_at", "feed")
        ]
        query = select(*columns).where(EVENTS.c.type == "request").order_by(EVENTS.c.seq)
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def subject_requests(self) -> list[dict[str, Any]]:
        """What people have asked for, with the record and the subject, in sequence: for the log of requests."""
        columns = [EVENTS.c[name] for name in ("event_key", "subject_ref", "fact", "effective_at", "feed")]
        query = select(*columns).where(EVENTS.c.type == "request").order_by(EVENTS.c.seq)
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def subject_rows(self, subject_refs: Sequence[str]) -> list[dict[str, Any]]:
        """Every record of these subjects, links from either end included, in sequence; `detail` where not erased."""
        query = (
            select(*EVENTS.c, DETAILS.c.payload)
            .select_from(EVENTS.outerjoin(DETAILS, EVENTS.c.seq == DETAILS.c.seq))
            .where(EVENTS.c.subject_ref.in_(subject_refs) | EVENTS.c.object_ref.in_(subject_refs))
            .order_by(EVENTS.c.seq)
        )
        with self.reading() as connection:
            found = [dict(row._mapping) for row in connection.execute(query)]
        for row in found:
            payload = row.pop("payload")
            row["detail"] = payload and self.sealer.open(row["event_key"], payload, row["detail_commitment"])
        return found


def holds(connection: Connection, head: tuple[int, str]) -> bool:
    if head[0] == 0:
        return head[1] == GENESIS
    found = connection.execute(select(EVENTS.c.hash).where(EVENTS.c.seq == head[0])).scalar_one_or_none()
    return found is not None and found == head[1]


def _refs(registry: SubjectRegistry, records: Sequence[Record | Posting]) -> dict[str, str]:
    named = {s.token: s for r in records for s in (r.subject, r.other) if s is not None}
    return registry.refs([(s.token, s.kind, s.issuer) for s in named.values()])


def _rows(connection: Connection, sql: str) -> Iterator[tuple[Any, ...]]:
    return itertools.chain.from_iterable(raw_chunks(connection, sql))


@contextmanager
def open_ledger(home: Home, keys: Keys, at: LedgerAt = IN_HOME) -> Iterator[tuple[Ledger, SubjectRegistry]]:
    """The ledger of a home, or elsewhere, ready to append, with its registry; both closed at the end. Raises
    AnchorError where they do not reach their anchor: older than it, cut, or rewritten (faults D2, D3, D4, H11)."""
    with SubjectRegistry(home, keys) as registry:
        anchor = Anchor(home, keys, at)
        erased = Suppressions(home, keys, anchor)
        ledger = Ledger(open_engine(at.url or home.ledger_db), registry, keys, anchor, erased)
        try:
            anchor.check(ledger.head(), ledger.holds, registry)
            yield ledger, registry
        finally:
            ledger.close()
