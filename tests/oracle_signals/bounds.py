"""What a document can grant at most, told from its words alone, wherever they stand. Not here: what refuses again.

Of the formats whose tests build their plain reader beside the documents they draw: WeChat and WeCom ("Receive event
push", "Customer contact: event formats"), forms, OpenDSR (§5, §6.2, §7.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def objects(document: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document, with the outer spaces of its keys and texts taken off."""
    if isinstance(document, dict):
        yield {plain(name): plain(inner) for name, inner in document.items()}
        for inner in document.values():
            yield from objects(inner)
    if isinstance(document, list):
        for inner in document:
            yield from objects(inner)


def plain(word: Any) -> Any:
    return word.strip() if isinstance(word, str) else word


DELETIONS = ["user_info_modified", "user_authorization_revoke", "user_authorization_cancellation"]


def wechat(document: Any) -> set[str]:
    found = set()
    for each in objects(document):
        if each.get("Event") == "subscribe":
            found.add("follow")
        if each.get("Event") in DELETIONS:
            found.add("request.erasure")
        if each.get("SubscribeStatusString") == "accept":
            found.add(f"template.{each.get('TemplateId')}")
    return found


def wecom(document: Any) -> set[str]:
    changes = [each.get("ChangeType") for each in objects(document)]
    found = set()
    if "add_external_contact" in changes or "add_half_external_contact" in changes:
        found.add("adviser")
    if "msg_audit_approved" in changes:
        found.add("chat_archive")
    return found


YES = [
    "是",
    "同意",
    "已同意",
    "勾选",
    "已勾选",
    "☑",
    "✓",
    "✔",
    "1",
    "y",
    "Y",
    "yes",
    "Yes",
    "YES",
    "true",
    "True",
    "TRUE",
]

WORDS = [
    *YES,
    "否",
    "不同意",
    "☐",
    "0",
    "n",
    "no",
    "false",
    "Ｙ",
    "同意 ",
    "accept",
    "reject",
    "subscribe",
    "raw",
    "md5",
    "email",
]


def form(document: Any) -> set[str]:
    found = set()
    for name, value in columns(document, ""):
        word = "true" if value is True else str(value).strip() if isinstance(value, str | int) else ""
        if word in YES:
            found.add(name)
    return found


def columns(document: Any, outer: str) -> Iterator[tuple[str, Any]]:
    for name, inner in document.items() if isinstance(document, dict) else ():
        own = outer + (name.strip("\ufeff \t\r\n\u3000") if isinstance(name, str) else "")
        if isinstance(inner, dict):
            yield from columns(inner, own + ".")
        else:
            yield own, inner


def opendsr(document: Any) -> set[str]:
    """A request that names its kind, its time, itself and somebody in a way that can be looked up or is a hash."""
    if not isinstance(document, dict):
        return set()
    kind, identities = document.get("subject_request_type"), document.get("subject_identities")
    named = isinstance(identities, list) and identities != [] and all(isinstance(one, dict) for one in identities)
    whole = isinstance(document.get("subject_request_id"), str) and isinstance(document.get("submitted_time"), str)
    return {f"request.{kind}"} if named and whole and kind in ("erasure", "access", "portability") else set()
