"""The consent ledger: appends records to the hash chain, tells its head, verifies it, hands it to the warehouse.

Not here: reading deliveries (`importer.py`), and what the records mean (the dbt models)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Engine, func, insert, select

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
from orchestration.consent.store import is_append_only, open_engine
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.policy.schema import Policy

LOOKUP_CHUNK = 10_000  # SQLite takes 32,766 parameters
READ_CHUNK = 50_000


class Ledger:
    """One ledger. Reading needs nothing else; appending needs the registry of subjects and the keys."""

    def __init__(self, engine: Engine, registry: SubjectRegistry | None, keys: Keys | None) -> None:
        self._engine, self._registry = engine, registry
        self._sealer = None if keys is None else DetailSealer(keys)

    @classmethod
    def open(
        cls, url_or_path: str | Path, registry: SubjectRegistry | None = None, keys: Keys | None = None
    ) -> Ledger:
        """The ledger at a path or SQLAlchemy URL, made on first use."""
        return cls(open_engine(url_or_path), registry, keys)

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

    def append(self, records: Sequence[Record], now: datetime) -> AppendReport:
        """Appends what is new, in one transaction. A known id with the same body is a duplicate; with another body it
        is a conflict: not appended, but a presumed denial is, for every subject and scope that either body names."""
        if not records:
            return AppendReport(0, 0, 0)
        refs = self._refs(records)
        keyed = [(self.sealer.event_key(r.feed, r.event_id), self.sealer.body(r)) for r in records]
        with self._engine.execution_options(is_writer=True).begin() as connection:
            known = self._known(connection, [key for key, _ in keyed])
            rows: list[dict[str, Any]] = []
            payloads: list[bytes] = []
            duplicates, conflicts = 0, []
            recorded_at = microseconds(now)
            for position, (record, (key, body)) in enumerate(zip(records, keyed, strict=True)):
                first = known.get(key)
                if first is None:
                    row = _row(record, refs, key, recorded_at)
                    payload, row["detail_commitment"] = self.sealer.seal(key, record.event_id, body, record.detail)
                    rows.append(row)
                    payloads.append(payload)
                    known[key] = Known(body, row)
                elif first.body is None or first.body == body:  # None: its detail is erased, so it cannot be compared
                    duplicates += 1
                else:
                    conflicts.append((position, first))
            denials = self._denials(connection, [(records[p], keyed[p], f) for p, f in conflicts], refs, recorded_at)
            _write(connection, rows + [r for r, _ in denials], payloads + [p for _, p in denials])
        positions = tuple(position for position, _ in conflicts)
        return AppendReport(len(rows), duplicates, len(conflicts), len(denials), positions)

    def _refs(self, records: Sequence[Record]) -> dict[str, str]:
        if self._registry is None:
            raise VerifyError("the ledger was opened for reading", remedy="Open it with the registry of its home")
        named = {s.token: s for r in records for s in (r.subject, r.other) if s is not None}
        return self._registry.refs([(s.token, s.kind, s.issuer) for s in named.values()])

    def _known(self, connection: Connection, event_keys: Sequence[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        if _head(connection)[0] == 0:
            return found
        columns = (*EVENTS.c, DETAILS.c.payload)
        query = select(*columns).select_from(EVENTS.outerjoin(DETAILS, EVENTS.c.seq == DETAILS.c.seq))
        for start in range(0, len(event_keys), LOOKUP_CHUNK):
            chunk = event_keys[start : start + LOOKUP_CHUNK]
            for values in connection.execute(query.where(EVENTS.c.event_key.in_(chunk))):
                row = dict(zip(COLUMNS, values, strict=False))
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
        there = self._known(connection, list(wanted)) if wanted else {}
        return [denial for denial_key, denial in wanted.items() if denial_key not in there]

    def verify(self) -> int | None:
        """The first bad sequence, or None. With keys, details that are still there must match their commitments."""
        with self._engine.begin() as connection:
            bad = first_bad(_raw(connection, f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY seq"))
            return bad if bad is not None or self._sealer is None else self._bad_detail(connection)

    def _bad_detail(self, connection: Connection) -> int | None:
        query = """SELECT d.seq, e.event_key, d.payload, e.detail_commitment
                   FROM details d LEFT JOIN events e ON e.seq = d.seq ORDER BY d.seq"""
        for seq, event_key, payload, committed in _raw(connection, query):
            if event_key is None or self.sealer.open(event_key, payload, committed) is None:
                return int(seq)
        return None

    def is_append_only(self) -> bool:
        """Whether the triggers that refuse UPDATE and DELETE are in place."""
        with self._engine.begin() as connection:
            return is_append_only(connection)

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


def _raw(connection: Connection, sql: str) -> Iterator[Sequence[Any]]:
    """Rows straight from the driver: SQLAlchemy's row objects cost as much as the hashing itself."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql)
        while rows := cursor.fetchmany(READ_CHUNK):
            yield from rows
    finally:
        cursor.close()


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
