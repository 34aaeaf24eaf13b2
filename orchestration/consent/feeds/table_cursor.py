"""How far a table feed has been read: positions in its cursor column, and the bookmark that lies in the home.

Not here: reading the table (`table_feed.py`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestration.atomic import write_json
from orchestration.consent.ledger import Ledger
from orchestration.consent.models import microseconds, moment
from orchestration.home import Home
from orchestration.ingestion.refusal import Refused
from orchestration.policy.schema import Cursor

Form = Literal["number", "aware", "local", "text_utc", "text_local"]


class Position(NamedTuple):
    """A value of the cursor column: a number, or microseconds since 1970 UTC; and how the database writes it."""

    value: int
    form: Form

    def capped(self, now: datetime) -> Position:
        """Never ahead of the clock: one row dated 2099 would hide every row until then."""
        latest = microseconds(now)
        return self if self.form == "number" or self.value <= latest else Position(latest, self.form)


@dataclass(frozen=True)
class Scale:
    """The cursor column of one feed: reads its values, and says from where to read again."""

    cursor: Cursor
    zone: ZoneInfo | None

    def position(self, value: Any) -> Position:
        """Raises Refused where the column holds anything that does not grow as policy says."""
        found = self._number(value) if self.cursor.overlap is not None else self._time(value)
        if found is None:
            raise Refused("contract_broken")
        return found

    def bound(self, position: Position) -> Any:
        """The lowest value to be read again, as the database compares it."""
        if position.form == "number":
            return position.value - (self.cursor.overlap or 0)
        at = moment(position.value) - timedelta(minutes=self.cursor.overlap_minutes or 0)
        if position.form == "aware":
            return at
        at = at.astimezone(UTC if position.form == "text_utc" else self.zone).replace(tzinfo=None, microsecond=0)
        return at if position.form == "local" else at.isoformat(" ")  # as text, a space comes before any `T`

    def _number(self, value: Any) -> Position | None:
        if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
            value = int(value)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return Position(value, "number") if is_number else None

    def _time(self, value: Any) -> Position | None:
        at = value
        if isinstance(value, str):
            at = _parsed(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            at = datetime.combine(value, time())
        if not isinstance(at, datetime) or (at.tzinfo is None and self.zone is None):
            return None
        is_local, is_text = at.tzinfo is None, isinstance(value, str)
        if is_text and at.utcoffset():
            return None  # texts of several offsets are in no order
        form: Form = ("text_local" if is_local else "text_utc") if is_text else ("local" if is_local else "aware")
        return Position(microseconds(at.replace(tzinfo=self.zone) if is_local else at), form)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


class _Bookmark(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: str
    head: tuple[int, str]
    position: Position


def bookmark_path(home: Home, feed: str) -> Path:
    return home.lake / "cursors" / f"{feed}.json"


def read_bookmark(home: Home, feed: str, origin: str, ledger: Ledger) -> Position | None:
    """Where the last read ended; None reads from the beginning: another source or mapping (`origin`), a bookmark that
    is lost or damaged, or a ledger without the records that were read up to it (a restored one)."""
    try:
        found = _Bookmark.model_validate(json.loads(bookmark_path(home, feed).read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None
    return found.position if found.origin == origin and ledger.holds(found.head) else None


def write_bookmark(home: Home, feed: str, origin: str, ledger: Ledger, position: Position) -> None:
    """Call it after everything up to `position` is in the ledger."""
    path = bookmark_path(home, feed)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    bookmark = _Bookmark(origin=origin, head=ledger.head(), position=position)
    write_json(path, bookmark.model_dump(mode="json"))
