"""What a document grants, read a second time and plainly, from the words of its specification alone.

Of the formats whose tests build no plain reader beside the documents they draw: WeChat ("Receive event push",
"Subscribe to notifications: event push", "Authorized user information change"), WeCom ("Customer contact: event
formats"), forms, OpenDSR (§1.1, §5, §6.2, §7.1). Not here: what only refuses or narrows."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

YES = [
    *("是", "同意", "已同意", "勾选", "已勾选", "☑", "✓", "✔"),
    *("1", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"),
]
NO = [
    *("否", "不同意", "未同意", "未勾选", "拒绝", "☐", "✗", "✘"),
    *("0", "n", "N", "no", "No", "NO", "false", "False", "FALSE"),
]
TICKED_BEFORE = [
    *("pre_ticked", "preticked", "is_pre_ticked", "pre_checked", "prechecked", "default_ticked"),
    *("预勾选", "默认勾选"),
]
WORDS = [
    *(*YES, "否", "不同意", "☐", "0", "n", "no", "false", "Ｙ", "同意 ", "accept", "reject", "refuse", "block"),
    *("subscribe", "unsubscribe", "raw", "md5", "email", "pre_ticked", "List", "43101", "InfoType", "OpenID"),
]
DELETIONS = ["user_info_modified", "user_authorization_revoke", "user_authorization_cancellation"]
WRAPPERS = ["SubscribeMsgPopupEvent", "SubscribeMsgChangeEvent", "SubscribeMsgSentEvent"]


def word(value: Any) -> str:
    """A short text without outer spaces, or a whole number; nothing else is a word."""
    if type(value) is int and 0 <= value < 10**20:
        return str(value)
    found = value.strip() if isinstance(value, str) and len(value) <= 1024 else ""
    return (
        found if all(ord(c) >= 32 and not 127 <= ord(c) < 160 and not 0xD800 <= ord(c) < 0xE000 for c in found) else ""
    )


def is_name(value: Any) -> bool:
    found = word(value)
    return 1 <= len(found) <= 64 and set(found) <= {*string.ascii_letters, *string.digits, *"_@.-"}


def is_second(value: Any) -> bool:
    found = word(value)
    return 1 <= len(found) <= 10 and set(found) <= {*string.digits} and set(found) != {"0"}


def members(value: Any) -> dict[str, Any] | None:
    """An object by its names without outer spaces; none where two then are one."""
    if not isinstance(value, dict) or len(value) > 200:
        return None
    names = [name.strip() if isinstance(name, str) else "" for name in value]
    return dict(zip(names, value.values(), strict=True)) if all(names) and len({*names}) == len(names) else None


def events(document: Any) -> Iterator[dict[str, Any]]:
    several = document if isinstance(document, list) else [document]
    for each in several if len(several) <= 1000 else []:
        found = members(each)
        if found is not None and [*found] == ["xml"]:
            found = members(found["xml"])
        if found is not None:
            yield found


def wechat(document: Any) -> set[str]:
    """What one event gives and no other of the same account, person and second takes."""
    said = [one for event in events(document) for one in _said(event)]
    taken = {(code, who) for code, who, is_given in said if not is_given}
    return {
        code
        for code, who, is_given in said
        if is_given and not taken & {(code, who), (f"{code.partition('.')[0]}.*", who)}
    }


def _said(event: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    name = word(event.get("Event"))
    person = "OpenID" if name in DELETIONS else "FromUserName"
    optional = [event[field] for field in ("AppID", "UnionID") if event.get(field) not in (None, "")]
    is_whole = all(map(is_name, [event.get("ToUserName"), event.get(person), *optional]))
    if not is_whole or not is_second(event.get("CreateTime")) or word(event.get("MsgType")).lower() != "event":
        return
    who = (word(event["ToUserName"]), word(event[person]), word(event["CreateTime"]).lstrip("0"))
    if name in ("subscribe", "unsubscribe"):
        yield "follow", who, name == "subscribe"
    elif name in DELETIONS:
        yield "request.erasure", who, True
        if name.endswith("cancellation"):
            yield "follow", who, False
            yield "template.*", who, False
    elif name == "TEMPLATESENDJOBFINISH" and "block" in word(event.get("Status")).lower():
        yield "template.*", who, False
    elif name.startswith("subscribe_msg_") and name.endswith(("popup_event", "change_event", "sent_event")):
        for template, is_accepted in _templates(event, is_sent=name.endswith("sent_event")):
            yield f"template.{template}", who, is_accepted


def _templates(event: dict[str, Any], *, is_sent: bool) -> Iterator[tuple[str, bool]]:
    """Every entry: accepted or not. None where one of them names no template."""
    places = [event.get("List"), *(_within(event.get(wrapper)) for wrapper in WRAPPERS)]
    entries = [one for place in places if place not in (None, "") for one in _each(place)]
    read = [members(entry) or {} for entry in entries]
    if len(read) > 20 or not all(is_name(entry.get("TemplateId")) for entry in read):
        return
    for entry in read:
        status = word(entry.get("ErrorStatus")).lower()
        is_refused = word(entry.get("ErrorCode")) == "43101" or any(w in status for w in ("refuse", "reject", "block"))
        if is_refused or not is_sent:
            yield word(entry["TemplateId"]), not is_sent and word(entry.get("SubscribeStatusString")) == "accept"


def _within(wrapper: Any) -> Any:
    return (members(wrapper) or {}).get("List", wrapper) if isinstance(wrapper, dict) else wrapper


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def wecom(document: Any) -> set[str]:
    """Whom a customer added as an adviser, or let archive the chats; told by an own app or by a third-party one."""
    found = set()
    for event in events(document):
        is_third = "InfoType" in event
        family = word(event.get("InfoType" if is_third else "Event"))
        corp, second = ("AuthCorpId", "TimeStamp") if is_third else ("ToUserName", "CreateTime")
        is_whole = all(is_name(event.get(field)) for field in (corp, "ExternalUserID", "UserID"))
        is_event = "Event" not in event if is_third else word(event.get("MsgType")).lower() == "event"
        if family == "change_external_contact" and is_whole and is_event and is_second(event.get(second)):
            change = word(event.get("ChangeType"))
            if change in ("add_external_contact", "add_half_external_contact"):
                found.add("adviser")
            if change == "msg_audit_approved":
                found.add("chat_archive")
    return found


def form(document: Any) -> set[str]:
    """The columns that hold a word for yes, once each; none of a form that was, or may have been, ticked beforehand."""
    found: dict[str, str] = {}
    for name, value in columns(document, ""):
        text = str(value) if type(value) is int else "true" if value is True else "false" if value is False else ""
        text = value.strip() if isinstance(value, str) else text
        if found.setdefault(name, text) != text:
            return set()
    for name, text in found.items():
        if name.split(".")[-1].lower().replace("-", "_").replace(" ", "_") in TICKED_BEFORE and text not in NO:
            return set()
    return {name for name, text in found.items() if text in YES}


def columns(document: Any, outer: str) -> Iterator[tuple[str, Any]]:
    for name, inner in document.items() if isinstance(document, dict) else ():
        own = outer + (name.strip("\ufeff \t\r\n\u3000") if isinstance(name, str) else "")
        if isinstance(inner, dict):
            yield from columns(inner, own + ".")
        else:
            yield own, inner


HASHES = {"sha1": 40, "md5": 32, "sha256": 64}
OF_WHOM = [
    *("controller_customer_id", "email", "android_advertising_id", "android_id", "fire_advertising_id"),
    *("ios_advertising_id", "ios_vendor_id", "microsoft_advertising_id", "microsoft_publisher_id"),
    *("roku_advertising_id", "roku_publisher_id"),
]


def opendsr(document: Any) -> set[str]:
    """A request that names itself, its kind and its time, and whose every identity can be looked up or is a hash."""
    said = document if isinstance(document, dict) else {}
    kind, identities = said.get("subject_request_type"), said.get("subject_identities")
    is_about = isinstance(identities, list) and 1 <= len(identities) <= 100 and all(map(_is_identity, identities))
    is_request = _is_guid(said.get("subject_request_id")) and _is_instant(said.get("submitted_time"))
    return {f"request.{kind}"} if is_about and is_request and kind in ("erasure", "access", "portability") else set()


def _is_identity(one: Any) -> bool:
    if not isinstance(one, dict) or one.get("identity_type") not in OF_WHOM:
        return False
    value, form_of = one.get("identity_value"), one.get("identity_format")
    if not isinstance(value, str) or not value.strip():
        return False
    is_hash = form_of in [*HASHES] and len(value) == HASHES[form_of] and set(value) <= {*string.hexdigits}
    return form_of == "raw" or is_hash


def _is_guid(value: Any) -> bool:
    try:
        return isinstance(value, str) and UUID(value).version == 4 and str(UUID(value)) == value
    except ValueError:
        return False


def _is_instant(value: Any) -> bool:
    try:
        return isinstance(value, str) and value[10] in "Tt" and datetime.fromisoformat(value.upper()).tzinfo is not None
    except (ValueError, IndexError):
        return False
