"""WeChat: what a person accepts and rejects of an account's template and subscribe messages, and what was sent.

`credits` is what an event adds to the sends that (account, openid, template) has left: `1` by an accept in a pop-up,
for a subscription is for one message unless the template is a long-term one, which no event says; `0` by a change in
the settings; `-1` by each send that is reported, also one that failed. A refusal leaves none.

WeChat Developers, "Subscribe to notifications: event push" (`List` is an object where it has one entry); "Mini Program:
subscribe messages"; "Template messages: event push"."""

from __future__ import annotations

from typing import Any

from orchestration.consent.signals.pushed import IDENTIFIER, Envelope, plain_text, trimmed
from orchestration.consent.signals.signal import Answer, Signal

POPUP, CHANGE, SENT = "subscribe_msg_popup_event", "subscribe_msg_change_event", "subscribe_msg_sent_event"
FINISHED = "TEMPLATESENDJOBFINISH"
EVENTS = frozenset((POPUP, CHANGE, SENT, FINISHED))
MAX_TEMPLATES = 20  # a pop-up shows three to five; with the most events in a list, 20,000 signals take 0.3 s
_LIST = "List"
_WRAPPERS = ("SubscribeMsgPopupEvent", "SubscribeMsgChangeEvent", "SubscribeMsgSentEvent")
_REFUSED_CODE, _REFUSALS = "43101", ("refuse", "reject", "block")  # "user refuse to accept the msg"


def template_signals(envelope: Envelope, event: str) -> list[Signal]:
    """One signal per template; an entry that cannot be read may be a refusal, so beside it no other grants."""
    if event == FINISHED:
        return _finished(envelope)
    entries = _entries(envelope.body)
    named = [(template, entry) for template, entry in entries if template]
    if not named or len(named) < len(entries) or len(entries) > MAX_TEMPLATES:
        envelope.fail("a template is not named")
    if event == SENT:
        return [_sent(envelope, template, entry) for template, entry in named[:MAX_TEMPLATES]] or [envelope.signal({})]
    answers = _answers(named[:MAX_TEMPLATES])
    return [_chosen(envelope, event, *chosen) for chosen in answers.items()] or [envelope.signal({})]


def _answers(named: list[tuple[str, dict[str, Any]]]) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    for template, entry in named:
        accepts = plain_text(entry.get("SubscribeStatusString")) == "accept"
        found[template] = "granted" if accepts and found.get(template) != "refused" else "refused"
    return found


def _chosen(envelope: Envelope, event: str, template: str, answer: Answer) -> Signal:
    credit = "1" if event == POPUP and answer == "granted" else "0"
    return envelope.signal(
        {f"template.{template}": answer}, envelope.text("EventKey"), template=template, credits=credit
    )


def _sent(envelope: Envelope, template: str, entry: dict[str, Any]) -> Signal:
    status = plain_text(entry.get("ErrorStatus")).lower()
    refused = plain_text(entry.get("ErrorCode")) == _REFUSED_CODE or any(word in status for word in _REFUSALS)
    answer: Answer = "refused" if refused else "silent"
    message = plain_text(entry.get("MsgID"))  # two sends of one second are two
    return envelope.signal({f"template.{template}": answer}, message, template=template, credits="-1")


def _finished(envelope: Envelope) -> list[Signal]:
    """Of a template message, only that the person blocks them is reported."""
    if "block" not in envelope.text("Status").lower():
        return []
    return [envelope.signal({"template.*": "refused"}, envelope.text("MsgID"))]


def _entries(body: Any) -> list[tuple[str, dict[str, Any]]]:
    """(template id or `""`, entry) of every list there is, wherever a version of the platform puts it."""
    found: list[Any] = []
    for place in (_LIST, *_WRAPPERS):
        value = body.get(place)
        if place != _LIST and isinstance(value, dict):
            value = (trimmed(value) or {}).get(_LIST, value)
        if value not in (None, ""):
            found.extend(value if isinstance(value, list) else [value])
    return [_entry(value) for value in found[: MAX_TEMPLATES + 1]]


def _entry(value: Any) -> tuple[str, dict[str, Any]]:
    entry = trimmed(value) or {}
    template = plain_text(entry.get("TemplateId"))
    return (template if IDENTIFIER.fullmatch(template) else "", entry)
