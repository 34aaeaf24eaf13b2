"""RudderStack: the consent object that its SDKs put on events. Not here: the logic (`and`, `or`) by which RudderStack
opens a destination; each category is answered by itself.

Read from: RudderStack, «Add the Consent Object to Event Payloads» (`context.consentManagement` with allowedConsentIds
and deniedConsentIds, both required, case-sensitive; provider; resolutionStrategy).

Codes: the consent ids as they stand. Allowed and denied at once is refused, and so is everything where the list of
the denied is missing. A batch gives a Signal of each event.
Values: userId, anonymousId, messageId, timestamp, originalTimestamp, sentAt, receivedAt, type, event,
context.traits.email, context.traits.phone, context.consentManagement.provider and .resolutionStrategy."""

from __future__ import annotations

from typing import Any

from orchestration.consent.signals.document import MAX_ENTRIES, at, broken, code, read_each, values_at
from orchestration.consent.signals.segment import TEXTS as EVENT_TEXTS
from orchestration.consent.signals.signal import Answer, Signal

TEXTS = (*EVENT_TEXTS, "context.consentManagement.provider", "context.consentManagement.resolutionStrategy")


def read(document: Any) -> list[Signal]:
    """One Signal of each event."""
    return read_each(document, _event, within=("batch",))


def _event(event: dict[str, Any]) -> list[Signal]:
    values = values_at(event, TEXTS)
    consent = at(event, "context.consentManagement")
    if consent is None:
        return [Signal(values=values)]
    allowed, denied = at(consent, "allowedConsentIds") or [], at(consent, "deniedConsentIds")
    if not isinstance(allowed, list) or not isinstance(denied, list) or len(allowed) + len(denied) > MAX_ENTRIES:
        return [broken("allowedConsentIds and deniedConsentIds are not two lists", values)]
    if any(code(name) is None for name in denied):
        return [broken("a denied consent id that cannot be read", values)]
    answers: dict[str, Answer] = {name: "granted" for name in map(code, allowed) if name is not None}
    answers |= {name: "refused" for name in map(code, denied) if name is not None}
    return [Signal(answers, values)]
