"""Turns what payloads say into rows of a consent delivery, as policy's rules say. Not here: reading the payloads
(`payloads.py`), and whether a row may be believed (`judge.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from orchestration.consent.feeds.payloads import Payload
from orchestration.consent.feeds.rows import Row
from orchestration.consent.feeds.signatures import PLACE
from orchestration.consent.feeds.table_rows import Mapping as ColumnMapping
from orchestration.consent.signals.registry import format_of
from orchestration.consent.signals.signal import Answer, Signal
from orchestration.policy.schema import ConsentFeed, SignalRule, SignalSubject

# What tells the records of one payload apart in their event ids, beside the codes that they rest on.
PARTS = ("type", "controller", "purpose", "category", "recipient", "channel", "fact", "status")
# As what an answer is recorded, by type of record; None: nothing.
TOLD: Mapping[str, Any] = {
    "consent": lambda answer, refused: {"decision": "grant" if answer == "granted" else refused},
    "permission": lambda answer, _: {"state": "open" if answer == "granted" else "closed"},
    "request": lambda answer, _: {"state": "received"} if answer == "granted" else None,
    "status": lambda answer, _: {"state": "on"} if answer == "granted" else None,
}


class SignalRows:
    """The rows that each payload of one feed becomes."""

    def __init__(self, feed: ConsentFeed) -> None:
        assert feed.signal is not None
        self._feed, self._missing = feed, format_of(feed.signal).missing
        self._mapping = ColumnMapping(feed, ZoneInfo(feed.zone) if feed.zone else None)

    def rows(self, payload: Payload) -> list[Row]:
        """None where it says nothing of any scope of ours."""
        if payload.problem is not None:
            return [Row(payload.row_no, payload.line, problem=payload.problem)]
        return [row for signal in payload.signals for row in self._of_signal(payload, signal)]

    def _of_signal(self, payload: Payload, signal: Signal) -> Iterator[Row]:
        base = self._mapping.named_row(payload.row_no, payload.line, signal.values)
        subjects = [subject for subject in self._feed.subjects if _is_named(subject, signal.values)]
        if signal.problem is not None:
            base.problem = "malformed"
            for subject in subjects or (None,):
                yield _about(base, subject, signal.values)
            return
        is_choice = _has(signal.values, self._feed.choices)
        for rule in self._feed.rules:
            for words, answer in _answers(rule, signal, self._missing):
                if answer == "granted" and not is_choice:
                    continue
                yield from _said(base, rule, words, answer, subjects, signal.values)


def _is_named(subject: SignalSubject, values: Mapping[str, str]) -> bool:
    """Whether the payload names somebody of this kind."""
    return _has(values, subject.where) and bool(values.get(subject.value, "").strip())


def _has(values: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(values.get(name) == value for name, value in wanted.items())


def _answers(rule: SignalRule, signal: Signal, missing: Answer) -> Iterator[tuple[dict[str, str | None], Answer]]:
    """What the rule sets, and the answer: refused where any code is refused, silent where any is silent."""
    answers = signal.answers
    if rule.given is not None and answers.get(rule.given) != "granted":
        return
    words = {str(name): _filled(word, signal.values) for name, word in rule.set.items()}
    prefix, star, _ = rule.needs[0].partition("*")
    if star:
        for code in [code for code in answers if code.startswith(prefix) and len(code) > len(prefix)]:
            yield {name: word and word.replace("*", code[len(prefix) :]) for name, word in words.items()}, answers[code]
        return
    found = [answer_to(code, answers, missing) for code in rule.needs]
    yield words, "refused" if "refused" in found else "silent" if "silent" in found else "granted"


def answer_to(code: str, answers: Mapping[str, Answer], missing: Answer) -> Answer:
    """The answer of the code itself, or of the nearest `….*` that it is part of."""
    found, stem = answers.get(code), code
    while found is None and "." in stem:
        stem = stem.rpartition(".")[0]
        found = answers.get(f"{stem}.*")
    return found or answers.get("*") or missing


def _filled(word: str, values: Mapping[str, str]) -> str | None:
    """The word with values of the payload in its places; None where one is missing."""
    if any(not values.get(name, "").strip() for name in PLACE.findall(word)):
        return None
    return PLACE.sub(lambda found: values[found[1]].strip(), word)


def _said(
    base: Row,
    rule: SignalRule,
    words: Mapping[str, str | None],
    answer: Answer,
    subjects: Sequence[SignalSubject],
    values: Mapping[str, str],
) -> Iterator[Row]:
    """A grant speaks for whom the payload names first, a refusal or request for everybody that it names."""
    kind = words.get("type") or base.values.get("type", "consent")
    told = None if answer == "silent" else TOLD[kind](answer, rule.refused)
    if told is None:
        return
    named: Sequence[SignalSubject | None] = subjects or [None]
    for subject in named[:1] if told.get("decision") == "grant" or told.get("state") == "open" else named:
        row = _about(base, subject, values)
        row.bad |= {name for name, word in words.items() if word is None}
        row.values |= {"type": kind, **{name: word for name, word in words.items() if word is not None}, **told}
        if "event_id" in row.values:  # the payload's own, made one for each record
            who = [subject.kind, subject.issuer] if subject is not None and len(named) > 1 else []
            parts = ",".join([*(row.values.get(name, "") for name in PARTS), "+".join(rule.needs), *who])
            row.values["event_id"] = f"{row.values['event_id']}#{parts}"
        yield row


def _about(base: Row, subject: SignalSubject | None, values: Mapping[str, str]) -> Row:
    row = Row(base.row_no, base.line, dict(base.values), base.problem, set(base.bad), set(base.blank))
    if subject is not None:
        row.values |= {"subject_kind": subject.kind, "subject_issuer": subject.issuer}
        row.values["subject_value"] = values[subject.value].strip()
    return row
