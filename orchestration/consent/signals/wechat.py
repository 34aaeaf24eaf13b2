"""WeChat: events of official accounts and mini-programs, as an object of JSON or of `xml.parse`, or a list of such.

What they permit is a permission per account, and per template: it narrows reach and never grants a purpose (R-101).
Codes: `follow`, `template.<TemplateId>`, `request.erasure`, `authorised.<field>`; `template.*` and `authorised.*` stand
for all of an account's. A signal speaks of these codes of its own and of no other; an event that says nothing of
permission, as SCAN, gives no signal. Values: `account` (ToUserName), `appid`, `openid`, `unionid`, `time`, `event`,
`event_id`; `template`, `credits` (`wechat_templates.py`); `surface`, `scope` (`wechat_authorisation.py`).

WeChat Developers, "Receive event push" (an event without MsgId is told from its retry by its fields), "Subscribe to
notifications: event push", "Authorized user information change"."""

from __future__ import annotations

from typing import Any

from orchestration.consent.signals.pushed import Envelope, opened, plain_text
from orchestration.consent.signals.signal import Answer, Signal, malformed
from orchestration.consent.signals.wechat_authorisation import EVENTS as AUTHORISATION_EVENTS
from orchestration.consent.signals.wechat_authorisation import authorisation_signals
from orchestration.consent.signals.wechat_templates import EVENTS as TEMPLATE_EVENTS
from orchestration.consent.signals.wechat_templates import template_signals

PARTIAL = True  # a signal speaks of its own codes alone
MAX_EVENTS = 1_000
_FOLLOW: dict[str, Answer] = {"subscribe": "granted", "unsubscribe": "refused"}
_KNOWN = frozenset((*_FOLLOW, *TEMPLATE_EVENTS, *AUTHORISATION_EVENTS))
_FOLDED = frozenset(name.lower() for name in _KNOWN)


def read(document: Any) -> list[Signal]:
    """The signals of an event, or of a list of events. Where two of one time contradict each other, refusal wins."""
    if isinstance(document, list):
        if len(document) > MAX_EVENTS:
            return [malformed("too many events")]
        return _refusal_wins([signal for event in document for signal in _signals(event)])
    return _refusal_wins(_signals(document))


def _signals(document: Any) -> list[Signal]:
    body = opened(document)
    if body is None:
        return [malformed("not an event")]
    if "Encrypt" in body and "Event" not in body:
        return [malformed("encrypted: decrypt it first")]
    event, kind = plain_text(body.get("Event")), plain_text(body.get("MsgType")).lower()
    if event.lower() not in _FOLDED and (event or kind not in ("", "event")):
        return []  # another event, or what somebody wrote to the account: no statement of permission
    envelope = _envelope(body, event, kind)
    if event in AUTHORISATION_EVENTS:
        return authorisation_signals(envelope, event)
    if event in TEMPLATE_EVENTS:
        return template_signals(envelope, event)
    return [envelope.signal({"follow": _FOLLOW.get(event, "refused")}, envelope.text("EventKey"))]


def _envelope(body: dict[str, Any], event: str, kind: str) -> Envelope:
    envelope = Envelope(body)
    if event not in _KNOWN or kind != "event":
        envelope.fail("no readable Event or MsgType")
    else:
        envelope.values["event"] = event
    envelope.take("account", "ToUserName")
    # of an authorisation, the sender is the platform's own service: the person is somebody else
    envelope.take("openid", "OpenID" if event.lower() in AUTHORISATION_EVENTS else "FromUserName")
    envelope.take_time("CreateTime")
    for name, field in (("appid", "AppID"), ("unionid", "UnionID")):
        envelope.take(name, field, required=False)
    return envelope


def _refusal_wins(signals: list[Signal]) -> list[Signal]:
    refused = {
        (code, *_when(signal)) for signal in signals for code, answer in signal.answers.items() if answer == "refused"
    }
    return [_refused(signal) if _is_contradicted(signal, refused) else signal for signal in signals]


def _is_contradicted(signal: Signal, refused: set[tuple[str, ...]]) -> bool:
    return any(
        answer == "granted" and not refused.isdisjoint((name, *_when(signal)) for name in (code, _all_like(code)))
        for code, answer in signal.answers.items()
    )


def _all_like(code: str) -> str:
    return f"{code.partition('.')[0]}.*"


def _refused(signal: Signal) -> Signal:
    """Of a signal with one code, a follow or a template: nothing else is ever granted and refused."""
    no_credit = {"credits": "0"} if "credits" in signal.values else {}
    return Signal(dict.fromkeys(signal.answers, "refused"), {**signal.values, **no_credit}, fields=signal.fields)


def _when(signal: Signal) -> tuple[str, ...]:
    return tuple(signal.values.get(name, "") for name in ("account", "openid", "time"))
