"""What the readers of consent objects share: strict looks into parsed JSON, times, and answers joined so that the
refusal wins. Not here: the words of any format.

A look never raises and never coerces: the text `"true"` is not true, a missing step is None, and what is too long or
holds control characters is no text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from orchestration.consent.signals.signal import Answer, Signal, malformed

Unit = Literal["seconds", "milliseconds", "microseconds"]
Said = tuple[Mapping[str, Answer], Mapping[str, str]]  # what was said, and of whom, when and by which notice

MAX_TEXT = 1_024  # characters: the longest that any of these formats documents for a code (a Snowplow consent scope)
MAX_ENTRIES = 1_000  # purposes, categories or choices in one document; the documented pages hold 50 to 100
MAX_DOCUMENTS = 10_000  # documents in one payload: 0.2 s at 20 microseconds each
STRICTNESS: dict[Answer, int] = {"granted": 0, "silent": 1, "refused": 2}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# From 2000 to 2100: within it no number of one unit can be taken for one of another, which lies a thousand times off.
FIRST_SECOND, LAST_SECOND = 946_684_800, 4_102_444_800
PER_SECOND: dict[Unit, int] = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}


def at(document: Any, path: str) -> Any:
    """What lies under a dotted path of objects; None where a step is missing or is no object."""
    for key in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document


def text(value: Any) -> str | None:
    """A short printable text without its outer spaces, or a whole number as text; None of anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 2**63 else None
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        return None
    return value.strip() or None


def code(value: Any) -> str | None:
    """A code as it stands. None of what has outer spaces, or could be taken for `*`: every code that is not named."""
    name = text(value)
    return name if name is not None and (name == value or isinstance(value, int)) and "*" not in name else None


def moment(value: Any, unit: Unit) -> str | None:
    """A number since the epoch as ISO 8601 in UTC (None when out of range); a time that is already text stays so."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return text(value)
    per_second = PER_SECOND[unit]
    if not FIRST_SECOND * per_second <= value < LAST_SECOND * per_second:
        return None
    since = timedelta(seconds=value // per_second, microseconds=value % per_second * (1_000_000 // per_second))
    return (EPOCH + since).isoformat(timespec="milliseconds" if unit != "microseconds" else "microseconds")


def values_at(document: Any, texts: Iterable[str], moments: Mapping[str, Unit] | None = None) -> dict[str, str]:
    """The values under these dotted paths, by their paths; those that are missing or no text are left out."""
    found = {path: text(at(document, path)) for path in texts}
    found |= {path: moment(at(document, path), unit) for path, unit in (moments or {}).items()}
    return {path: value for path, value in found.items() if value is not None}


def say(answers: dict[str, Answer], name: str, answer: Answer) -> None:
    """Adds an answer; where the code has one already, the stricter stays."""
    known = answers.get(name)
    if known is None or STRICTNESS[answer] > STRICTNESS[known]:
        answers[name] = answer


def by_moment(said: Iterable[Said], time: str = "") -> list[Signal]:
    """One Signal for each set of values (whom, when, which notice), with all that was said of it, settled."""
    signals: dict[frozenset[tuple[str, str]], tuple[dict[str, Answer], Mapping[str, str]]] = {}
    for answers, values in said:
        joined, _ = signals.setdefault(frozenset(values.items()), ({}, values))
        for name, answer in answers.items():
            say(joined, name, answer)
    return settled([Signal(answers, values) for answers, values in signals.values()], time)


def settled(signals: list[Signal], time: str = "") -> list[Signal]:
    """The Signals of one document without contradiction: of what is said twice of a code, the stricter everywhere.

    Only where both are dated, by the value `time`, and differently, each stands: the person changed their mind."""
    strictest: dict[str, dict[str | None, Answer]] = {}
    for signal in signals:
        for name, answer in signal.answers.items():
            known = strictest.setdefault(name, {})
            for when in {signal.values.get(time), ""}:  # "" collects those of every time
                known[when] = max(answer, known.get(when, answer), key=STRICTNESS.__getitem__)

    def settle(name: str, when: str | None) -> Answer:
        known = strictest[name]
        dated = [known[when], known.get(None, known[when])] if when is not None else [known[""]]
        return max(dated, key=STRICTNESS.__getitem__)

    return [
        replace(signal, answers={name: settle(name, signal.values.get(time)) for name in signal.answers})
        for signal in signals
    ]


def only(*values: Any) -> str | None:
    """The code that these places agree on; None where none has one, or two differ."""
    names = {code(value) for value in values if value is not None}
    return names.pop() if len(names) == 1 else None


def broken(problem: str, values: Mapping[str, str]) -> Signal:
    """What grants nothing, of a subject that can be told."""
    return Signal(values=values, problem=problem)


def read_each(
    payload: Any, read_one: Callable[[dict[str, Any]], list[Signal]], within: Iterable[str] = ()
) -> list[Signal]:
    """The Signals of a document, of each in a list, and of each in a list that one of the keys `within` names.

    An envelope of such a list is read as a document too, and counts only if it answers something itself."""
    signals: list[Signal] = []
    left = MAX_DOCUMENTS
    for part in payload[: MAX_DOCUMENTS + 1] if isinstance(payload, list) else [payload]:
        inner = [one for key in within if isinstance(at(part, key), list) for one in at(part, key)[: left + 1]]
        left -= len(inner) + 1
        if left < 0:
            return [malformed(f"more than {MAX_DOCUMENTS} documents in one payload")]
        is_envelope = any(isinstance(at(part, key), list) for key in within)
        signals += [signal for signal in _read(part, read_one) if signal.answers or not is_envelope]
        signals += [signal for one in inner for signal in _read(one, read_one)]
    return signals


def _read(document: Any, read_one: Callable[[dict[str, Any]], list[Signal]]) -> list[Signal]:
    return read_one(document) if isinstance(document, dict) else [malformed("a document that is no JSON object")]


def asked(signal: Signal, name: str, is_partial: bool) -> Answer | None:
    """The answer to a code that is asked for; None only where a Signal of a partial format says nothing of it.

    A partial format (`PARTIAL = True` in its module) gives one Signal per moment, which speaks of the codes that it
    names and of those beneath a `*`: with `P.*` among its answers, `P.weekly` is refused unless it is named too."""
    if name in signal.answers:
        return signal.answers[name]
    parts = name.split(".")
    wildcards = {".".join([*parts[:end], "*"]) for end in range(len(parts))}
    if is_partial and signal.answers and wildcards.isdisjoint(signal.answers):
        return None
    return "refused"
