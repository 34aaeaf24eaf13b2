"""A record as the ledger takes it in bulk: what repeats is shared among many, only the rest is the record's own.

Not here: what a record means (`models.py`), and how postings are judged (`judge.py`, `patterns.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quote
from typing import NamedTuple

from orchestration.consent.chain import REPEATING, Repeating
from orchestration.consent.models import Record, Subject, microseconds

_FEED, _TYPE = REPEATING.index("feed"), REPEATING.index("type")
_FLAGS = ("is_separate", "is_guardian")


class Posting(NamedTuple):
    """One record; times are microseconds since 1970 UTC, `detail` is encoded."""

    repeating: Repeating
    event_id: str
    subject: Subject | None
    other: Subject | None
    effective_at: int
    until_at: int | None
    batch: str | None
    detail: str

    @property
    def feed(self) -> str:
        return str(self.repeating[_FEED])

    @property
    def type(self) -> str:
        return str(self.repeating[_TYPE])


def posting_of(record: Record | Posting) -> Posting:
    """The record as a posting."""
    if isinstance(record, Posting):
        return record
    values = {name: getattr(record, name) for name in REPEATING}
    values |= {name: int(values[name]) for name in _FLAGS if values[name] is not None}
    return Posting(
        tuple(values.values()),
        record.event_id,
        record.subject,
        record.other,
        microseconds(record.effective_at),
        None if record.until is None else microseconds(record.until),
        record.batch,
        encode_detail(record.detail),
    )


def encode_detail(detail: Mapping[str, str]) -> str:
    """The JSON object of a detail, by name."""
    return "{" + ",".join([f"{quote(name)}:{quote(detail[name])}" for name in sorted(detail)]) + "}"
