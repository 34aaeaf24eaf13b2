"""A batch of rows as judged, in the order of the rows. Not here: the judgement itself, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestration.consent.feeds.judge import Judge
from orchestration.consent.feeds.patterns import Patterns
from orchestration.consent.feeds.payloads import Payload
from orchestration.consent.feeds.rows import Row, json_row
from orchestration.consent.feeds.signal_rows import SignalRows
from orchestration.consent.identifiers import Contact
from orchestration.consent.models import Record
from orchestration.consent.postings import Posting

Place = tuple[int, str]  # row_no, line


@dataclass
class Judged:
    """What is to be appended, kept and quarantined of some rows; `places` says where each accepted record came from."""

    read: int = 0
    accepted: list[Record | Posting] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    contacts: dict[Contact, None] = field(default_factory=dict)  # each once
    restrictions: list[Record] = field(default_factory=list)
    quarantined: list[tuple[Place, str]] = field(default_factory=list)  # and the reason
    without_effect: int = 0  # of what was read: payloads that say nothing of any scope of ours
    is_blind: bool = False  # something might restrict, but nobody can say whom

    def take(self, row: Row, judge: Judge) -> Record | None:
        """Judges one more row. Its record, if it was accepted."""
        verdict = judge.judge(row)
        self.read += 1
        self.restrictions += verdict.restrictions
        self.is_blind |= verdict.is_blind
        if verdict.record is None:
            self.quarantined.append(((row.row_no, row.line), verdict.reason or ""))
            return None
        self.accepted.append(verdict.record)
        self.places.append((row.row_no, row.line))
        self.contacts.update(dict.fromkeys(verdict.contacts))
        return verdict.record


def judge_rows(rows: Iterable[Row], judge: Judge) -> Judged:
    judged = Judged()
    for row in rows:
        judged.take(row, judge)
    return judged


def judge_payloads(payloads: Iterable[Payload], rows_of: SignalRows, judge: Judge) -> Judged:
    """Like `judge_rows` for what each payload says; `read` counts rows, and payloads without one."""
    judged = Judged()
    for payload in payloads:
        rows = rows_of.rows(payload)
        for row in rows:
            judged.take(row, judge)
        if not rows:
            judged.read += 1
            judged.without_effect += 1
    return judged


def judge_lines(lines: Iterable[Place], judge: Judge, patterns: Patterns) -> Judged:
    """Like `judge_rows` for the lines of a JSON delivery, of which most need no parsing."""
    judged = Judged()
    accepted, places, contacts = judged.accepted, judged.places, judged.contacts
    for place in lines:
        found = patterns.posting(place[1])
        if found is None:
            row = json_row(*place)
            record = judged.take(row, judge)
            if record is not None:
                patterns.learn(row, record)
            continue
        posting, contact, other = found
        judged.read += 1
        accepted.append(posting)
        places.append(place)
        if contact is not None:
            contacts[contact] = None
        if other is not None:
            contacts[other] = None
    return judged
