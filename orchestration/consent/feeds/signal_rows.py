"""Turns what payloads say into rows of a consent delivery, as policy's rules say. Not here: reading the payloads
(`payloads.py`), and whether a row may be believed (`judge.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from orchestration.consent.feeds.payloads import Payload
from orchestration.consent.feeds.rows import Row
from orchestration.consent.feeds.table_rows import Mapping as ColumnMapping
from orchestration.consent.signals.signal import Answer, Signal
from orchestration.policy.schema import ConsentFeed, SignalRule, SignalSubject

WHAT_IS_SET = ("type", "controller", "purpose", "category", "recipient", "channel", "fact", "status")


class SignalRows:
    """The rows that each payload of one feed becomes."""

    def __init__(self, feed: ConsentFeed) -> None:
        self._feed = feed
        self._mapping = ColumnMapping(feed, ZoneInfo(feed.zone) if feed.zone else None)

    def rows(self, payload: Payload) -> list[Row]:
        """None where it says nothing of any scope of ours, or nothing that changes anything."""
        if payload.is_oversized:
            return [Row(payload.row_no, payload.line, problem="oversized")]
        return [row for signal in payload.signals for row in self._of_signal(payload, signal)]

    def _of_signal(self, payload: Payload, signal: Signal) -> Iterator[Row]:
        base = self._mapping.named_row(payload.row_no, payload.line, signal.values)
        subjects = [subject for subject in self._feed.subjects if signal.values.get(subject.value, "").strip()]
        if signal.problem is not None:
            base.problem = "malformed"
            yield from (_about(base, subject, signal) for subject in subjects)
            if not subjects:
                yield base
            return
        for rule in self._feed.rules:
            for words, answer in _answers(rule, signal.answers):
                yield from self._said(base, rule, words, answer, signal, subjects)

    def _said(
        self,
        base: Row,
        rule: SignalRule,
        words: Mapping[str, str],
        answer: Answer,
        signal: Signal,
        subjects: list[SignalSubject],
    ) -> Iterator[Row]:
        kind = words.get("type", base.values.get("type", "consent"))
        told = _TOLD[kind](answer, rule.refused) if kind in _TOLD else None
        if told is None or answer == "silent":
            return
        # a grant speaks for whom the payload names first, a refusal for everybody that it names
        for subject in subjects[:1] if answer == "granted" else subjects:
            row = _about(base, subject, signal)
            row.values |= {"type": kind, **words, **told}
            _number(row, subject, len(subjects))
            yield row
        if not subjects:
            row = _copy(base)
            row.values |= {"type": kind, **words, **told}
            _number(row, None, 0)
            yield row


_TOLD: dict[str, Any] = {
    "consent": lambda answer, refused: {"decision": "grant" if answer == "granted" else refused},
    "permission": lambda answer, _: {"state": "open" if answer == "granted" else "closed"},
    "request": lambda answer, _: {"state": "received"} if answer == "granted" else None,
    "status": lambda answer, _: {"state": "on"} if answer == "granted" else None,
}


def _answers(rule: SignalRule, answers: Mapping[str, Answer]) -> Iterator[tuple[dict[str, str], Answer]]:
    """What the rule sets, and the answer: refused where any code is, or is missing; silent where any is silent."""
    if rule.given is not None and answers.get(rule.given) != "granted":
        return
    words = {str(name): word for name, word in rule.set.items()}
    prefix, star, _ = rule.needs[0].partition("*")
    if star:
        for code in [code for code in answers if code.startswith(prefix) and len(code) > len(prefix)]:
            yield {name: word.replace("*", code[len(prefix) :]) for name, word in words.items()}, answers[code]
        return
    found = [answers.get(code, "refused") for code in rule.needs]
    yield words, "refused" if "refused" in found else "silent" if "silent" in found else "granted"


def _copy(base: Row) -> Row:
    return Row(base.row_no, base.line, dict(base.values), base.problem, set(base.bad), set(base.blank))


def _about(base: Row, subject: SignalSubject, signal: Signal) -> Row:
    row = _copy(base)
    row.values |= {"subject_kind": subject.kind, "subject_issuer": subject.issuer}
    row.values["subject_value"] = signal.values[subject.value].strip()
    return row


def _number(row: Row, subject: SignalSubject | None, named: int) -> None:
    """The payload's id, made one of its own for each scope and subject that it speaks of."""
    if "event_id" in row.values:
        parts = [row.values.get(name, "") for name in WHAT_IS_SET]
        who = [subject.kind, subject.issuer] if subject is not None and named > 1 else []
        row.values["event_id"] = "#".join([row.values["event_id"], ",".join([*parts, *who])])
