"""The consent ledger: appends records to the hash chain, tells its head, verifies it, hands it to the warehouse.

Not here: reading deliveries (`importer.py`), and what the records mean (the dbt models)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Engine, select

from orchestration.consent import staging
from orchestration.consent.chain import GENESIS, first_bad, link_rows
from orchestration.consent.conflicts import Known, restrict
from orchestration.consent.detail import DetailSealer, refer
from orchestration.consent.models import (
    COLUMNS,
    DETAILS,
    EVENTS,
    AppendReport,
    Record,
    microseconds,
)
from orchestration.consent.store import open_engine, raw_chunks
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.policy.schema import Policy

EVENT_COLUMNS = ", ".join(f"e.{column}" for column in COLUMNS)
SELECT_WITH_DETAIL = f"SELECT {EVENT_COLUMNS}, d.payload FROM events e LEFT JOIN details d ON d.seq = e.seq"
CHUNK = 10_000  # records at a time; SQLite takes 32,766 parameters in the look-up of known events


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
            return _head(connection)

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
        total = AppendReport(0, 0, 0)
        with self._engine.execution_options(is_writer=True).begin() as connection:
            for start in range(0, len(records), CHUNK):
                total += self._append_chunk(connection, records[start : start + CHUNK], refs, at, start)
            for start in range(0, len(once), CHUNK):
                total += self._append_once(connection, once[start : start + CHUNK], refs, at)
        return total

    def _append_once(
        self, connection: Connection, records: Sequence[Record], refs: Mapping[str, str], at: int
    ) -> AppendReport:
        keyed: dict[str, Record] = {}
        for record in records:
            keyed.setdefault(self.sealer.event_key(record.feed, record.event_id), record)
        known = self._known(connection, list(keyed))
        rows, payloads = [], []
        for key, record in keyed.items():
            if key not in known:
                row = _row(record, refs, key, at)
                sealed = self.sealer.seal(key, record.event_id, self.sealer.body(record), record.detail)
                payload, row["detail_commitment"] = sealed
                rows.append(row)
                payloads.append(payload)
        _write(connection, rows, payloads)
        return AppendReport(0, 0, 0, sum(row["type"] != "feed" for row in rows))

    def _append_chunk(
        self, connection: Connection, records: Sequence[Record], refs: Mapping[str, str], at: int, offset: int
    ) -> AppendReport:
        keyed = [(self.sealer.event_key(r.feed, r.event_id), self.sealer.body(r)) for r in records]
        known = self._known(connection, [key for key, _ in keyed])
        rows: list[dict[str, Any]] = []
        payloads: list[bytes] = []
        duplicates = 0
        conflicts: dict[int, Known] = {}
        for position, (record, (key, body)) in enumerate(zip(records, keyed, strict=True)):
            first = known.get(key)
            if first is None:
                row = _row(record, refs, key, at)
                payload, row["detail_commitment"] = self.sealer.seal(key, record.event_id, body, record.detail)
                rows.append(row)
                payloads.append(payload)
                known[key] = Known(body, row)
            elif first.body is None or first.body == body:  # None: its detail is erased, so it cannot be compared
                duplicates += 1
            else:
                conflicts[position] = first
        _write(connection, rows, payloads)
        denials = self._denials(connection, [(records[p], keyed[p], f) for p, f in conflicts.items()], refs, at)
        _write(connection, [row for row, _ in denials], [payload for _, payload in denials])
        positions = tuple(offset + position for position in conflicts)
        return AppendReport(len(rows), duplicates, len(conflicts), len(denials), positions)

    def _refs(self, records: Sequence[Record]) -> dict[str, str]:
        if self._registry is None:
            raise VerifyError("the ledger was opened for reading", remedy="Open it with the registry of its home")
        named = {s.token: s for r in records for s in (r.subject, r.other) if s is not None}
        return self._registry.refs([(s.token, s.kind, s.issuer) for s in named.values()])

    def _known(self, connection: Connection, event_keys: Sequence[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        marks = ", ".join("?" * len(event_keys))
        query = f"{SELECT_WITH_DETAIL} WHERE e.event_key IN ({marks})"
        for values in itertools.chain.from_iterable(raw_chunks(connection, query, tuple(event_keys))):
            row: dict[str, Any] = dict(zip(COLUMNS, values, strict=False))
            body = None
            if values[-1] is not None:
                detail = self.sealer.open(row["event_key"], values[-1], row["detail_commitment"])
                body = detail.body if detail else ""  # altered detail equals no body: a conflict, never a no-op
            found[row["event_key"]] = Known(body, row)
        return found

    def _denials(
        self,
        connection: Connection,
        conflicts: Iterable[tuple[Record, tuple[str, str], Known]],
        refs: Mapping[str, str],
        recorded_at: int,
    ) -> list[tuple[dict[str, Any], bytes]]:
        wanted: dict[str, tuple[dict[str, Any], bytes]] = {}
        for record, (key, body), first in conflicts:
            second = _row(record, refs, key, recorded_at)
            for number, row in enumerate(restrict(first.row, second, recorded_at)):
                denial_key = self.sealer.event_key("conflict", key, body, str(number))
                rest = {"conflict_of": str(first.row.get("seq") or "")}
                payload, committed = self.sealer.seal(denial_key, record.event_id, body, rest)
                wanted[denial_key] = ({**row, "event_key": denial_key, "detail_commitment": committed}, payload)
        there: dict[str, Known] = {}
        keys = list(wanted)
        for start in range(0, len(keys), CHUNK):
            there |= self._known(connection, keys[start : start + CHUNK])
        return [denial for denial_key, denial in wanted.items() if denial_key not in there]

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


def _head(connection: Connection) -> tuple[int, str]:
    found = connection.execute(select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)).one_or_none()
    return (0, GENESIS) if found is None else (int(found[0]), str(found[1]))


def _rows(connection: Connection, sql: str) -> Iterator[Sequence[Any]]:
    return itertools.chain.from_iterable(raw_chunks(connection, sql))


def _row(record: Record, refs: Mapping[str, str], event_key: str, recorded_at: int) -> dict[str, Any]:
    return {
        "event_key": event_key,
        "type": record.type,
        "subject_ref": refer(record.subject, refs),
        "controller": record.controller,
        "purpose": record.purpose,
        "category": record.category,
        "recipient": record.recipient,
        "channel": record.channel,
        "decision": record.decision,
        "basis": record.basis,
        "method": record.method,
        "is_separate": None if record.is_separate is None else int(record.is_separate),
        "is_guardian": None if record.is_guardian is None else int(record.is_guardian),
        "notice_id": record.notice_id,
        "notice_version": record.notice_version,
        "notice_language": record.notice_language,
        "jurisdiction": record.jurisdiction,
        "fact": record.fact,
        "state": record.state,
        "object_ref": refer(record.other, refs),
        "until_at": None if record.until is None else microseconds(record.until),
        "effective_at": microseconds(record.effective_at),
        "recorded_at": recorded_at,
        "feed": record.feed,
        "batch": record.batch,
    }


def _write(connection: Connection, rows: list[dict[str, Any]], payloads: list[bytes]) -> None:
    if not rows:
        return
    link_rows(rows, *_head(connection))
    marks = ", ".join("?" * len(COLUMNS))
    values = itemgetter(*COLUMNS)
    connection.exec_driver_sql(
        f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({marks})",
        [values(row) for row in rows],
    )
    connection.exec_driver_sql(
        "INSERT INTO details (seq, payload) VALUES (?, ?)",
        [(row["seq"], payload) for row, payload in zip(rows, payloads, strict=True)],
    )


@contextmanager
def open_ledger(home: Home, keys: Keys, url: str | None = None) -> Iterator[tuple[Ledger, SubjectRegistry]]:
    """The ledger of a home (or at `url`) ready to append, with its registry; both closed at the end."""
    with SubjectRegistry(home, keys) as registry:
        ledger = Ledger.open(url or home.ledger_db, registry, keys)
        try:
            yield ledger, registry
        finally:
            ledger.close()
