"""Recognises lines that differ from one already accepted in nothing but event id, subject, times and detail.

The values of such members are cut out of a line as text. They stand inside JSON strings, so lines with the same
remainder have the same structure and the same other values, and these are judged once. Not here: any rule (`judge.py`);
a line that is not certainly the same is judged by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from orchestration.consent.chain import Repeating
from orchestration.consent.feeds.judge import MAX_TEXT, TIMES, Judge, parse_microseconds
from orchestration.consent.feeds.rows import DETAILS, Row, json_row, json_text
from orchestration.consent.identifiers import Contact
from orchestration.consent.models import Record, Subject, microseconds
from orchestration.consent.postings import Posting, encode_detail, posting_of
from orchestration.ingestion.refusal import MAX_ROW_BYTES

MOST = 5_000  # patterns; the demo's feed has some 300
LONGEST = 16_384  # characters of a remainder: a row may be padded to a megabyte, and all are kept
_STRING = r'[^"\\\x00-\x1f]*(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*)*'


def _holes(members: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf'("(?:{"|".join(members)})"[ \t]*:[ \t]*")({_STRING})(?=")')


NARROW = _holes(("event_id", "value", *TIMES))
WIDE = _holes(("event_id", "value", *TIMES, *DETAILS))  # for a feed in which detail hardly repeats


# The other end of a link and its contact, until when, and the encoded detail.
More = tuple[Subject | None, Contact | None, int | None, str]


class Pattern(NamedTuple):
    """What lines with the same remainder share, and the places of the rest among its holes."""

    repeating: Repeating
    batch: str | None
    subject: tuple[str, str]  # kind, issuer
    other: tuple[str, str] | None
    window: tuple[int, int]
    detail: dict[str, str]
    plain: More | None  # what `Patterns._more` gives, where that is the same for every line
    event_id_at: int
    subject_at: int
    effective_at: int
    other_at: int
    until_at: int | None  # which of `times_at` that is
    times_at: tuple[int, ...]  # besides `effective_at`: all of them have to be times
    detail_at: tuple[tuple[str, int], ...]


Found = tuple[Posting, Contact | None, Contact | None]


class Patterns:
    """The patterns of one delivery, learnt from the rows that `judge` accepts."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._subject: Callable[[str, str, str], tuple[Subject | None, Contact | None]] = judge.identifiers.subject
        self._hole = NARROW
        self._known: dict[str, Pattern | None] = {}  # None: a line of it was accepted, but has no certain places

    def posting(self, line: str) -> Found | None:
        """What `judge` would make of this line, as a posting with its contacts; None where that is not certain."""
        pieces = self._hole.split(line)
        holes = pieces[2::3]
        del pieces[2::3]
        pattern = self._known.get("".join(pieces))
        if pattern is None or (len(line) > MAX_TEXT and _is_long(line, holes)):
            return None
        if "\\" in line:
            holes = [json_text(hole) for hole in holes]
        event_id = holes[pattern.event_id_at].strip()
        subject, contact = self._subject(*pattern.subject, holes[pattern.subject_at].strip())
        effective_at = parse_microseconds(holes[pattern.effective_at].strip())
        if not event_id or subject is None or effective_at is None:
            return None
        if not pattern.window[0] <= effective_at <= pattern.window[1]:
            return None
        more = pattern.plain if pattern.plain is not None else self._more(pattern, holes)
        if more is None:
            return None
        other, other_contact, until_at, detail = more
        posting = Posting(pattern.repeating, event_id, subject, other, effective_at, until_at, pattern.batch, detail)
        return posting, contact, other_contact

    def _more(self, pattern: Pattern, holes: list[str]) -> More | None:
        other, contact, until_at, detail = None, None, None, pattern.detail
        if pattern.other is not None:
            other, contact = self._subject(*pattern.other, holes[pattern.other_at].strip())
            if other is None:
                return None
        times = [parse_microseconds(holes[place].strip()) for place in pattern.times_at]
        if None in times:
            return None
        if pattern.until_at is not None:
            until_at = times[pattern.until_at]
        detail = detail | {name: holes[place].strip() for name, place in pattern.detail_at}
        return (other, contact, until_at, encode_detail(detail)) if all(detail.values()) else None

    def learn(self, row: Row, record: Record) -> None:
        """Remembers the pattern of a line that was accepted as `record`."""
        if len(self._known) >= MOST:
            if self._hole is WIDE:
                return
            self._hole = WIDE
            self._known.clear()
        remainder = self._hole.sub(r"\1", row.line)
        if len(remainder) <= LONGEST and remainder not in self._known:
            places = _places(row, self._hole)
            self._known[remainder] = None if places is None else self._pattern(row.values, record, places)

    def _pattern(self, values: dict[str, str], record: Record, places: dict[str, int]) -> Pattern | None:
        posting, is_link = posting_of(record), record.type == "link"
        required = {"event_id", "subject_value", *(("other_value",) if is_link else ())}
        required |= {name for name in TIMES if name in values}
        # what was blank says something once it is filled, so all that is cut out has to be there
        if not required <= places.keys() <= values.keys() or (not is_link and "other_value" in values):
            return None
        times = [name for name in TIMES[1:] if name in places]
        until = "minor_until" if record.type == "age" else "valid_until"
        details = tuple((name, places[name]) for name in DETAILS if name in places)
        window = self._judge.window(values)
        return Pattern(
            posting.repeating,
            posting.batch,
            (values["subject_kind"], values["subject_issuer"]),
            (values["other_kind"], values["other_issuer"]) if is_link else None,
            (microseconds(window[0]), microseconds(window[1])),
            dict(record.detail),
            None if is_link or times or details else (None, None, None, posting.detail),
            places["event_id"],
            places["subject_value"],
            places["effective_at"],
            places.get("other_value", 0),
            times.index(until) if until in times else None,
            tuple(places[name] for name in times),
            details,
        )


def _is_long(line: str, holes: list[str]) -> bool:
    return len(line) > MAX_ROW_BYTES or max(map(len, holes)) > MAX_TEXT


def _places(row: Row, hole: re.Pattern[str]) -> dict[str, int] | None:
    """Which hole each field fills: the line is read with a mark in each. None where one does not come out in just one
    field, as where another value looks like a mark."""
    marks = [f"\u27e8{place}\u27e9" for place in range(len(hole.findall(row.line)))]
    unused = iter(marks)
    marked = json_row(row.row_no, hole.sub(lambda found: found[1] + next(unused), row.line))
    places = {name: marks.index(text) for name, text in marked.values.items() if text in marks}
    return places if sorted(places.values()) == list(range(len(marks))) else None
