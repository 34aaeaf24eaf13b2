"""OpenDSR (once OpenGDPR): a request of a person for erasure, access or portability, to go to the request log.

Codes: `request.erasure`, `request.access`, `request.portability`; one signal per identity. Values:
`subject_request_id`, `subject_request_type`, `submitted_time`, `identity_type`, `identity_value`, `identity_format`,
`is_resolvable` (`false` where the identity is a hash: whose it is, is not guessed), `event_id`, `api_version`,
`regulation`, and the plain members of extensions as `extensions.<domain>.<name>`.

OpenDSR specification §1.1 (GUIDs), §5 (identities), §6.2 (request types), §7.1 (request). A request that breaks it has
a problem and still names whom it is about, so that somebody looks and nothing is used meanwhile."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from orchestration.consent.signals.signal import Signal, malformed

PARTIAL = True  # a signal speaks of its own request alone
MAX_IDENTITIES = 100
MAX_TEXT = 1_024
MAX_EXTENSIONS = 50
REQUEST_TYPES = ("erasure", "access", "portability")
REGULATIONS = ("gdpr", "ccpa")
IDENTITY_TYPES = frozenset(
    (
        *("controller_customer_id", "email", "android_advertising_id", "android_id", "fire_advertising_id"),
        *("ios_advertising_id", "ios_vendor_id", "microsoft_advertising_id", "microsoft_publisher_id"),
        *("roku_advertising_id", "roku_publisher_id"),
    )
)
HEX_DIGITS = {"sha1": 40, "md5": 32, "sha256": 64}
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_VERSION = re.compile(r"\d{1,3}(?:\.\d{1,3}){0,2}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def read(document: Any) -> list[Signal]:
    """One signal per identity of the request; with a problem anywhere, all of them have it."""
    if not isinstance(document, dict):
        return [malformed("not a request object")]
    values, problem = _request(document)
    identities, unreadable = _identities(document.get("subject_identities"), document)
    problem = problem or unreadable
    if problem:
        return [Signal(values={**values, **identity}, problem=problem) for identity in identities or [{}]]
    code = f"request.{values['subject_request_type']}"
    values = {**values, **_extensions(document.get("extensions"))}
    callbacks = {"status_callback_urls": document.get("status_callback_urls") or []}
    return [
        Signal({code: "granted"}, {**values, **identity, "event_id": _event_id(values, identity)}, fields=callbacks)
        for identity in identities
    ]


def _request(document: dict[Any, Any]) -> tuple[dict[str, str], str | None]:
    """The values of the request itself, and the first that breaks the specification."""
    found = {
        "subject_request_id": _matching(_UUID4, document.get("subject_request_id")),
        "subject_request_type": _one_of(REQUEST_TYPES, document.get("subject_request_type")),
        "submitted_time": _instant(document.get("submitted_time")),
        "api_version": _matching(_VERSION, document.get("api_version")),
        "regulation": _one_of(REGULATIONS, document.get("regulation")),
    }
    optional = ("api_version", "regulation")
    problems = [f"no valid {name}" for name in found if not found[name] and (name in document or name not in optional)]
    urls = document.get("status_callback_urls", [])
    if not isinstance(urls, list) or len(urls) > MAX_EXTENSIONS or not all(_text(url) for url in urls):
        problems.append("no valid status_callback_urls")
    if not _are_extensions(document.get("extensions", {})):
        problems.append("no valid extensions")
    return {name: value for name, value in found.items() if value}, problems[0] if problems else None


def _identities(said: Any, document: dict[Any, Any]) -> tuple[list[dict[str, str]], str | None]:
    """What can be read of the identities, each once, and the first problem."""
    if said is None and "subject_identities" not in document and document.get("extensions"):
        return [], "who asks is only in an extension"
    if not isinstance(said, list) or not said or len(said) > MAX_IDENTITIES:
        return [], "no valid subject_identities"
    found = [identity for one in said if (identity := _identity(one)) is not None]
    unique = [dict(pairs) for pairs in dict.fromkeys(tuple(identity.items()) for identity in found)]
    return unique, None if len(found) == len(said) else "an identity is not valid"


def _identity(said: Any) -> dict[str, str] | None:
    if not isinstance(said, dict):
        return None
    kind, value = _one_of(IDENTITY_TYPES, said.get("identity_type")), _text(said.get("identity_value"))
    form = _one_of(("raw", *HEX_DIGITS), said.get("identity_format"))
    if form in HEX_DIGITS and not re.fullmatch(rf"[0-9a-fA-F]{{{HEX_DIGITS[form]}}}", value):
        return None
    if not (kind and value and form):
        return None
    resolvable = "true" if form == "raw" else "false"
    return {"identity_type": kind, "identity_value": value, "identity_format": form, "is_resolvable": resolvable}


def _event_id(values: dict[str, str], identity: dict[str, str]) -> str:
    """The same for each retry of the request."""
    parts = [values["subject_request_id"], values["subject_request_type"], *identity.values()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _are_extensions(said: Any) -> bool:
    return (
        isinstance(said, dict)
        and len(said) <= MAX_EXTENSIONS
        and all(_text(domain) and isinstance(members, dict) for domain, members in said.items())
    )


def _extensions(said: Any) -> dict[str, str]:
    """The plain members of extensions, such as a property id; a list or an object is nobody's identifier."""
    pairs = [(f"extensions.{domain}.{name}", inner[name]) for domain, inner in (said or {}).items() for name in inner]
    plain = (
        (name, str(value) if type(value) is int and abs(value) < 10**20 else _text(value)) for name, value in pairs
    )
    return dict([(name, value) for name, value in plain if value and _text(name)][:MAX_EXTENSIONS])


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or value != value.strip() or _CONTROL.search(value):
        return ""
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""


def _one_of(known: Any, value: Any) -> str:
    return value if isinstance(value, str) and value in known else ""


def _instant(value: Any) -> str:
    """An RFC 3339 date and time, in UTC; a leap second is none that we can keep."""
    if not _matching(_RFC3339, value):
        return ""
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return ""
