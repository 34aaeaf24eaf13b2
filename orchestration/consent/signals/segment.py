"""Twilio Segment: the consent object that is stamped on events, and the event `Segment Consent Preference Updated`.
Not here: which destination a category opens.

Read from: Segment, «Consent in Segment Connections» and the open source of its consent wrapper (categories are an
object of booleans). Where Segment delivers an event without a consent object unfiltered, nothing is granted here.

Codes: the category names as they stand; only `true` grants. A batch gives a Signal of each event.
Values: userId, anonymousId, messageId, timestamp, originalTimestamp, sentAt, receivedAt, type, event,
context.traits.email, context.traits.phone."""

from __future__ import annotations

from typing import Any

from orchestration.consent.signals.document import MAX_ENTRIES, at, broken, code, read_each, say, values_at
from orchestration.consent.signals.signal import Answer, Signal

TEXTS = (
    "userId",
    "anonymousId",
    "messageId",
    "timestamp",
    "originalTimestamp",
    "sentAt",
    "receivedAt",
    "type",
    "event",
    "context.traits.email",
    "context.traits.phone",
)


def read(document: Any) -> list[Signal]:
    """One Signal of each event."""
    return read_each(document, _event, within=("batch",))


def _event(event: dict[str, Any]) -> list[Signal]:
    values = values_at(event, TEXTS)
    consent = at(event, "context.consent")
    if consent is None:
        return [Signal(values=values)]
    preferences = at(consent, "categoryPreferences")
    if not isinstance(preferences, dict) or len(preferences) > MAX_ENTRIES:
        return [broken("categoryPreferences is no object of booleans", values)]
    answers: dict[str, Answer] = {}
    for category, choice in preferences.items():
        name = code(category)
        if name is not None:
            say(answers, name, "granted" if choice is True else "refused")
        elif choice is not True:
            return [broken("a refused category whose name cannot be read", values)]
    return [Signal(answers, values)]
