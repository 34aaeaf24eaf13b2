"""The records of the consent ledger and its tables. Not here: appending them (`ledger.py`), their meaning (dbt)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    text,
)

RecordType = Literal["consent", "permission", "contract", "age", "status", "link", "request", "feed"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DESK = "desk"  # what staff record by hand: no feed of the policy, so nothing is expected of it and it is never stale

METADATA = MetaData()
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")  # there, the row's own id: one index less to write
OF_FEEDS = text("type = 'feed'")
IS_LINK = text("object_ref IS NOT NULL")

# `migrations/` makes these tables; a test says that it makes exactly these.
# Times are whole microseconds since 1970 UTC: exact on every engine, and the same bytes in the hash chain.
EVENTS = Table(
    "events",
    METADATA,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=False),
    Column("event_key", String(32), nullable=False, unique=True),  # keyed hash of (feed, event id)
    Column("type", String(16), nullable=False),
    Column("subject_ref", String(32)),  # null for a record about a feed
    Column("controller", String(48)),
    Column("purpose", String(48)),
    Column("category", String(48)),
    Column("recipient", String(48)),
    Column("channel", String(16)),
    Column("decision", String(16)),
    Column("basis", String(16)),
    Column("method", String(32)),
    Column("is_separate", SmallInteger),
    Column("is_guardian", SmallInteger),
    Column("notice_id", String(48)),
    Column("notice_version", String(32)),
    Column("notice_language", String(8)),
    Column("locale", String(24)),  # of the surface as shown, e.g. zh-CN
    Column("jurisdiction", String(8)),
    Column("fact", String(48)),  # of a contract; for a status or request its name; what of a contact point is permitted
    Column("state", String(16)),  # open|closed, on|off, received; of a feed complete|incomplete
    Column("object_ref", String(32)),  # the other end of a link
    Column("until_at", BigInteger),  # valid until; for an age: a minor until
    Column("effective_at", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("feed", String(48), nullable=False),
    Column("batch", String(32)),  # the delivery it came with
    Column("detail_commitment", String(64), nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("events_by_subject", "subject_ref"),
    # A delivery has one or two reports among millions of records.
    Index("events_by_object", "object_ref", sqlite_where=IS_LINK, postgresql_where=IS_LINK),
    Index("events_of_feeds", "feed", "batch", "seq", sqlite_where=OF_FEEDS, postgresql_where=OF_FEEDS),
)

# Deletable: its salt lives inside the encrypted payload, so erasing the row makes the commitment say nothing.
DETAILS = Table(
    "details",
    METADATA,
    Column("seq", SEQUENCE, ForeignKey("events.seq"), primary_key=True, autoincrement=False),
    Column("payload", LargeBinary, nullable=False),
)

COLUMNS: tuple[str, ...] = tuple(EVENTS.columns.keys())
CHAINED: tuple[str, ...] = COLUMNS[:-1]  # everything but the hash itself


class Subject(NamedTuple):
    """An identifier as the ledger may see it: a token, never a plain value."""

    token: str
    kind: str
    issuer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that was learned about one subject. Times are aware UTC; an absent part of the scope is None."""

    event_id: str  # the feed's own id; unique within `feed`
    type: RecordType
    feed: str
    effective_at: datetime  # when the person decided, or the fact began
    subject: Subject | None = None
    controller: str | None = None
    purpose: str | None = None
    category: str | None = None
    recipient: str | None = None
    channel: str | None = None
    decision: str | None = None
    basis: str | None = None
    method: str | None = None
    is_separate: bool | None = None
    is_guardian: bool | None = None
    notice_id: str | None = None
    notice_version: str | None = None
    notice_language: str | None = None
    locale: str | None = None
    jurisdiction: str | None = None
    fact: str | None = None
    state: str | None = None
    other: Subject | None = None
    until: datetime | None = None
    batch: str | None = None
    detail: Mapping[str, str] = field(
        default_factory=dict
    )  # surface, place, actor, evidence, system, fields, raw signal


@dataclass(frozen=True)
class AppendReport:
    """What became of the records of one append. `appended + duplicates + conflicts + suppressed` is what was given."""

    appended: int
    duplicates: int
    conflicts: int
    presumed_denials: int = 0  # restrictive records that the conflicts caused; beside what was given
    conflict_positions: tuple[int, ...] = ()
    suppressed: int = 0  # about somebody who was erased: not recorded

    def __add__(self, other: AppendReport) -> AppendReport:
        return AppendReport(
            self.appended + other.appended,
            self.duplicates + other.duplicates,
            self.conflicts + other.conflicts,
            self.presumed_denials + other.presumed_denials,
            self.conflict_positions + other.conflict_positions,
            self.suppressed + other.suppressed,
        )


def microseconds(at: datetime) -> int:
    """Exact microseconds since 1970 UTC. A naive time is an error: it would be read as somebody's local time."""
    if at.tzinfo is None:
        raise ValueError("a ledger time needs a zone")
    return (at - EPOCH) // MICROSECOND


def moment(value: int) -> datetime:
    return EPOCH + timedelta(microseconds=value)
