"""Receipts of ledger records: whose, what, when on both clocks, and for a refusal what stops when (R-22).

Not here: their forms (`receipt_jsonld.py`, `receipt_text.py`), and recording a withdrawal (`withdraw.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, select

from orchestration.consent.ledger import Ledger
from orchestration.consent.models import DETAILS, EVENTS, moment
from orchestration.policy.schema import Destination, Policy, Purpose
from orchestration.policy.vocabulary import vocabulary

Kind = Literal["consent", "withdrawal", "refusal"]
AT_A_TIME = 5_000
SCOPE = ("controller", "purpose", "category", "recipient", "channel", "decision", "notice_id", "notice_version")


@dataclass(frozen=True)
class HeldFile:
    """A destination that may hold a file delivered before, and until when that may be used at the latest."""

    destination: str
    role: str
    last_use_by: datetime


@dataclass(frozen=True)
class Stops:
    """What a refusal stops, and when. Deletion is no part of it."""

    stops_at: datetime  # no list made from then on holds the person
    files: tuple[HeldFile, ...]
    goes_on: tuple[str, ...]  # purposes on contract basis, which a withdrawal of consent does not touch

    def as_json(self) -> dict[str, Any]:
        files = [
            {"destination": file.destination, "role": file.role, "last_use_by": file.last_use_by.isoformat()}
            for file in self.files
        ]
        goes_on = list(self.goes_on)
        return {"at": self.stops_at.isoformat(), "files": files, "goes_on": goes_on, "is_deletion_included": False}


@dataclass(frozen=True)
class Receipt:
    """One record of the ledger as its receipt. `receipt_id` is the record's own key: it finds the record again."""

    receipt_id: str
    kind: Kind
    record: Mapping[str, Any]  # the columns of the ledger; times in microseconds
    event_id: str | None  # the feed's own; None where the detail is erased
    stops: Stops | None

    def as_json(self) -> dict[str, Any]:
        """The receipt for programs: nothing in it names the person."""
        row = self.record
        return {
            "receipt_id": self.receipt_id,
            "kind": self.kind,
            **{name: row[name] for name in ("seq", "feed")},
            "record_hash": row["hash"],
            "event_id": self.event_id,
            **{name: row[name] for name in SCOPE},
            **{name: moment(row[name]).isoformat() for name in ("effective_at", "recorded_at")},
            "stops": None if self.stops is None else self.stops.as_json(),
        }


def receipt_of(policy: Policy, row: Mapping[str, Any]) -> Receipt:
    """The receipt of one consent record, from `Ledger.subject_rows` or `found`."""
    is_refusal = row["decision"] in vocabulary().restricting
    kind: Kind = "withdrawal" if row["decision"] == "withdraw" else "refusal" if is_refusal else "consent"
    detail = row["detail"]
    return Receipt(
        receipt_id=row["event_key"],
        kind=kind,
        record={name: value for name, value in row.items() if name != "detail"},
        event_id=None if detail is None else detail.event_id,
        stops=_stops(policy, row) if is_refusal else None,
    )


def receipts_of_subjects(ledger: Ledger, policy: Policy, refs: Sequence[str]) -> list[Receipt]:
    """Every consent record of these subjects, in sequence."""
    rows = ledger.subject_rows(refs) if refs else []
    return [receipt_of(policy, row) for row in rows if row["type"] == "consent"]


def receipts_by_key(ledger: Ledger, policy: Policy, keys: Sequence[str]) -> list[Receipt]:
    """The receipts with these ids, in sequence; an id that is not on record is left out."""
    return [r for start in range(0, len(keys), AT_A_TIME) for r in _by_key(ledger, policy, keys[start:][:AT_A_TIME])]


def _by_key(ledger: Ledger, policy: Policy, keys: Sequence[str]) -> list[Receipt]:
    query = _query().where(EVENTS.c.event_key.in_(keys), EVENTS.c.type == "consent")
    with ledger.reading() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    return [receipt_of(policy, _opened(ledger, row)) for row in rows]


def refusals_since(ledger: Ledger, policy: Policy, since: int, feed: str | None = None) -> Iterator[Receipt]:
    """The receipts of every refusal after the sequence `since`, of one feed or of all, in sequence, as a stream."""
    while True:
        query = _query().where(
            EVENTS.c.seq > since, EVENTS.c.type == "consent", EVENTS.c.decision.in_(sorted(vocabulary().restricting))
        )
        query = query if feed is None else query.where(EVENTS.c.feed == feed)
        with ledger.reading() as connection:
            rows = [dict(row) for row in connection.execute(query.limit(AT_A_TIME)).mappings()]
        yield from (receipt_of(policy, _opened(ledger, row)) for row in rows)
        if len(rows) < AT_A_TIME:
            return
        since = rows[-1]["seq"]


def _query() -> Select[Any]:
    joined = EVENTS.outerjoin(DETAILS, EVENTS.c.seq == DETAILS.c.seq)
    return select(*EVENTS.c, DETAILS.c.payload).select_from(joined).order_by(EVENTS.c.seq)


def _opened(ledger: Ledger, row: dict[str, Any]) -> dict[str, Any]:
    payload = row.pop("payload")
    detail = payload and ledger.sealer.open(row["event_key"], payload, row["detail_commitment"])
    return row | {"detail": detail or None}


def _stops(policy: Policy, row: Mapping[str, Any]) -> Stops:
    at = moment(row["recorded_at"])
    held = [d for d in policy.destinations.destinations if d.name in _reached(policy, row)]
    files = tuple(HeldFile(d.name, d.role, at + timedelta(hours=d.expires_after_hours)) for d in held)
    goes_on = () if row["purpose"] else tuple(p.name for p in policy.purposes.purposes if _is_contract(p, row))
    return Stops(at, files, goes_on)


def _reached(policy: Policy, row: Mapping[str, Any]) -> set[str]:
    """The destinations to which a segment of what is refused delivers. Refusing the purpose that joins identifiers
    reaches every segment of the controller."""
    identity = policy.purposes.identity_purpose
    channels: dict[str, Destination] = {d.name: d for d in policy.destinations.destinations}
    return {
        name
        for segment in policy.segments.segments
        if row["controller"] in (None, segment.controller) and row["purpose"] in (None, identity, segment.purpose)
        for name in segment.destinations
        if row["channel"] in (None, channels[name].channel)
    }


def _is_contract(purpose: Purpose, row: Mapping[str, Any]) -> bool:
    return set(purpose.basis.values()) == {"contract"} and row["controller"] in (None, *purpose.controllers)
