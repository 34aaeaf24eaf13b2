"""WeCom (企业微信): who of a corp's staff a customer has added or removed, per (corp, adviser, customer).

Codes: `adviser` (that adviser may write to that customer), `chat_archive` (the customer agreed to the archiving of
chats). A signal speaks of the codes that it contains and of no other. Values: `corp`, `adviser` (folded to lower case,
as WeCom compares them), `external_userid`, `time`, `event` (ChangeType), `event_id`, `suite`.

WeCom Developers, "Customer contact: event formats" (own apps: Event and CreateTime; third-party apps: InfoType and
TimeStamp), "The customer agreed to the archiving of chats"."""

from __future__ import annotations

from typing import Any

from orchestration.consent.signals.pushed import Envelope, opened, plain_text
from orchestration.consent.signals.signal import Answer, Signal, malformed

PARTIAL = True  # a signal speaks of its own codes alone
FAMILY = "change_external_contact"
MAX_EVENTS = 1_000
CHANGES: dict[str, dict[str, Answer]] = {
    "add_external_contact": {"adviser": "granted"},
    "add_half_external_contact": {"adviser": "granted"},  # the customer added the adviser, without confirmation
    "msg_audit_approved": {"chat_archive": "granted"},
    "del_external_contact": {"adviser": "refused"},  # the adviser removed the customer
    "del_follow_user": {"adviser": "refused"},  # the customer removed the adviser
    "transfer_fail": {"adviser": "refused"},  # the customer declined the adviser who was to take over
}


def read(document: Any) -> list[Signal]:
    """The signals of an event, or of a list of events; none of what says nothing of who may write to whom."""
    if isinstance(document, list):
        if len(document) > MAX_EVENTS:
            return [malformed("too many events")]
        return [signal for event in document for signal in _signals(event)]
    return _signals(document)


def _signals(document: Any) -> list[Signal]:
    body = opened(document)
    if body is None:
        return [malformed("not an event")]
    if "Encrypt" in body and "ChangeType" not in body:
        return [malformed("encrypted: decrypt it first")]
    own, change = "InfoType" not in body, plain_text(body.get("ChangeType"))
    family = plain_text(body.get("Event" if own else "InfoType"))
    if family and (family.lower() != FAMILY or (change and change.lower() not in CHANGES)):
        return []
    envelope = _envelope(body, own=own)
    if family == FAMILY and change in CHANGES and ("Event" not in body or own):
        envelope.values["event"] = change
    else:
        envelope.fail("no readable Event or ChangeType")
    return [envelope.signal(CHANGES.get(change, {}))]


def _envelope(body: dict[str, Any], *, own: bool) -> Envelope:
    envelope = Envelope(body)
    if own and plain_text(body.get("MsgType")).lower() != "event":
        envelope.fail("no readable MsgType")
    envelope.take("corp", "ToUserName" if own else "AuthCorpId")
    envelope.take("external_userid", "ExternalUserID")
    envelope.take("adviser", "UserID")
    if "adviser" in envelope.values:
        envelope.values["adviser"] = envelope.values["adviser"].lower()
    envelope.take_time("CreateTime" if own else "TimeStamp")
    envelope.take("suite", "SuiteId", required=False)
    return envelope
