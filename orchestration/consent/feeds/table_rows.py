"""Turns the rows of a consent table into flat rows of text, as policy's mapping says. Not here: reading the table
(`table_feed.py`), and whether a row may be believed (`judge.py`)."""

from __future__ import annotations

import json
from collections.abc import Mapping as Mapping_
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from orchestration.consent.feeds.judge import TIMES
from orchestration.consent.feeds.rows import FLAGS, Row
from orchestration.consent.feeds.table_cursor import Position
from orchestration.policy.schema import ConsentFeed

MOST_DIGITS = 40  # of a number; a longer one is no identifier, and 1E+1000000 would be a megabyte of text


@dataclass
class TableRow(Row):
    """A row of a table. `position` is None where its cursor column is: it is then read every time."""

    position: Position | None = None


class Mapping:
    """Turns rows of a table into rows of a consent delivery, as policy says."""

    def __init__(self, feed: ConsentFeed, zone: ZoneInfo | None) -> None:
        sources = {name: (of,) if isinstance(of, str) else of for name, of in feed.columns.items()}
        named = [of for several in sources.values() for of in several]
        self.columns = list(dict.fromkeys([*named, *([feed.cursor.column] if feed.cursor else [])]))
        self.cursor = None if feed.cursor is None else self.columns.index(feed.cursor.column)
        self._constants: dict[str, str] = {str(name): word for name, word in feed.constants.items()}
        self._values, self._zone = feed.values, zone
        self._fields = [(name, tuple(self.columns.index(of) for of in several)) for name, several in sources.items()]

    def row(self, row_no: int, values: Sequence[Any]) -> TableRow:
        """NULL is absent. A code that policy does not know is bad, so its row is never what it would otherwise be."""
        texts = [text_of(value) for value in values]
        line = json.dumps(dict(zip(self.columns, texts, strict=True)), ensure_ascii=False)
        row = TableRow(row_no, line, dict(self._constants))
        for name, places in self._fields:
            given = [place for place in places if values[place] is not None]
            if any(texts[place] is None for place in given):
                row.bad.add(name)
            elif given:
                one = texts[places[0]] if len(places) == 1 else json.dumps([texts[place] for place in places])
                self._take(row, name, (one or "").strip())
        return row

    def named_row(self, row_no: int, line: str, values: Mapping_[str, str]) -> Row:
        """The same of values by name. What is absent is absent; a field of several needs them all."""
        row = Row(row_no, line, dict(self._constants))
        for name, places in self._fields:
            given = [values.get(self.columns[place]) for place in places]
            if all(text is not None for text in given):
                self._take(row, name, (given[0] if len(given) == 1 else json.dumps(given)).strip())  # type: ignore[union-attr]
        return row

    def _take(self, row: Row, name: Any, text: str) -> None:
        if name in self._values:
            text = self._values[name].get(text, "")
            if not text:
                row.bad.add(name)
                return
        if not text:
            row.blank.add(name)
        elif name in TIMES:
            row.values[name] = _instant(text, self._zone)
        else:
            row.values[name] = text.lower() if name in FLAGS else text


def text_of(value: Any) -> str | None:
    """One text for each value, whatever the session of the database; None for what has none (bytes, binary floats)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        if not value.is_finite() or value.adjusted() > MOST_DIGITS:
            return None
        return str(int(value)) if value == value.to_integral_value() else format(value, "f")
    if isinstance(value, datetime) and value.tzinfo is not None and value.year not in (1, 9999):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, int | UUID) else None


def _instant(text: str, zone: ZoneInfo | None) -> str:
    """A naive local time with the offset that it had in `zone`. One that the clock skipped or showed twice stays naive,
    and so becomes `bad_timestamp`; so does a date, which is no instant."""
    if zone is None or len(text) <= len("2026-11-22"):
        return text
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        return text
    at = local.replace(tzinfo=zone, fold=0)
    is_certain = local.tzinfo is None and at.utcoffset() == at.replace(fold=1).utcoffset()
    return at.isoformat() if is_certain else text
