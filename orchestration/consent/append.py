"""Appends records to the ledger, once each: what is known already, what conflicts, and the rows as they are written.

Not here: the transaction and its locks (`store.py`), what a conflict restricts (`conflicts.py`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from orchestration.consent.chain import link_rows
from orchestration.consent.conflicts import Known, restrict
from orchestration.consent.detail import DetailSealer, refer
from orchestration.consent.models import COLUMNS, AppendReport, Record, microseconds
from orchestration.consent.store import head, insert_rows, known_rows

CHUNK = 10_000  # records at a time; SQLite takes 32,766 parameters in the look-up of known events


class Appender:
    """Appends within one write transaction: `refs` gives the subject_ref of each token, `at` is the store's clock."""

    def __init__(self, connection: Connection, sealer: DetailSealer, refs: Mapping[str, str], at: int) -> None:
        self._connection, self._sealer, self._refs, self._at = connection, sealer, refs, at

    def append(self, records: Sequence[Record]) -> AppendReport:
        """A known id with the same body is a duplicate, with another body a conflict, which presumes denials."""
        total = AppendReport(0, 0, 0)
        for start in range(0, len(records), CHUNK):
            total += self._append_chunk(records[start : start + CHUNK], start)
        return total

    def append_once(self, records: Sequence[Record]) -> AppendReport:
        """Records that Assent itself concludes: only the first with an id counts, whatever a later one says."""
        total = AppendReport(0, 0, 0)
        for start in range(0, len(records), CHUNK):
            total += self._append_once(records[start : start + CHUNK])
        return total

    def _append_once(self, records: Sequence[Record]) -> AppendReport:
        keyed: dict[str, Record] = {}
        for record in records:
            keyed.setdefault(self._sealer.event_key(record.feed, record.event_id), record)
        known = self._known(list(keyed))
        rows, payloads = [], []
        for key, record in keyed.items():
            if key not in known:
                row = _row(record, self._refs, key, self._at)
                sealed = self._sealer.seal(key, record.event_id, self._sealer.body(record), record.detail)
                payload, row["detail_commitment"] = sealed
                rows.append(row)
                payloads.append(payload)
        self._write(rows, payloads)
        return AppendReport(0, 0, 0, sum(row["type"] != "feed" for row in rows))

    def _append_chunk(self, records: Sequence[Record], offset: int) -> AppendReport:
        keyed = [(self._sealer.event_key(r.feed, r.event_id), self._sealer.body(r)) for r in records]
        known = self._known([key for key, _ in keyed])
        rows: list[dict[str, Any]] = []
        payloads: list[bytes] = []
        duplicates = 0
        conflicts: dict[int, Known] = {}
        for position, (record, (key, body)) in enumerate(zip(records, keyed, strict=True)):
            first = known.get(key)
            if first is None:
                row = _row(record, self._refs, key, self._at)
                payload, row["detail_commitment"] = self._sealer.seal(key, record.event_id, body, record.detail)
                rows.append(row)
                payloads.append(payload)
                known[key] = Known(body, row)
            elif first.body is None or first.body == body:  # None: its detail is erased, so it cannot be compared
                duplicates += 1
            else:
                conflicts[position] = first
        self._write(rows, payloads)
        denials = self._denials([(records[p], keyed[p], f) for p, f in conflicts.items()])
        self._write([row for row, _ in denials], [payload for _, payload in denials])
        positions = tuple(offset + position for position in conflicts)
        return AppendReport(len(rows), duplicates, len(conflicts), len(denials), positions)

    def _known(self, event_keys: Sequence[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        for values in itertools.chain.from_iterable(known_rows(self._connection, event_keys)):
            row: dict[str, Any] = dict(zip(COLUMNS, values, strict=False))
            body = None
            if values[-1] is not None:
                detail = self._sealer.open(row["event_key"], values[-1], row["detail_commitment"])
                body = detail.body if detail else ""  # altered detail equals no body: a conflict, never a no-op
            found[row["event_key"]] = Known(body, row)
        return found

    def _denials(
        self, conflicts: Iterable[tuple[Record, tuple[str, str], Known]]
    ) -> list[tuple[dict[str, Any], bytes]]:
        wanted: dict[str, tuple[dict[str, Any], bytes]] = {}
        for record, (key, body), first in conflicts:
            second = _row(record, self._refs, key, self._at)
            for number, row in enumerate(restrict(first.row, second, self._at)):
                denial_key = self._sealer.event_key("conflict", key, body, str(number))
                rest = {"conflict_of": str(first.row.get("seq") or "")}
                payload, committed = self._sealer.seal(denial_key, record.event_id, body, rest)
                wanted[denial_key] = ({**row, "event_key": denial_key, "detail_commitment": committed}, payload)
        there: dict[str, Known] = {}
        keys = list(wanted)
        for start in range(0, len(keys), CHUNK):
            there |= self._known(keys[start : start + CHUNK])
        return [denial for denial_key, denial in wanted.items() if denial_key not in there]

    def _write(self, rows: list[dict[str, Any]], payloads: list[bytes]) -> None:
        if not rows:
            return
        link_rows(rows, *head(self._connection))
        values = itemgetter(*COLUMNS)
        details = [(row["seq"], payload) for row, payload in zip(rows, payloads, strict=True)]
        insert_rows(self._connection, [values(row) for row in rows], details)


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
        "locale": record.locale,
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
