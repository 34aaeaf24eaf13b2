"""Whether a webhook was signed by who says so, and lately, as policy describes the signature. Not here: its payload.

Whoever receives webhooks keeps each as an envelope: the body as the very text that arrived, beside its headers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from orchestration.policy.schema import Signature

PLACE = re.compile(r"\{([^{}]+)\}")  # a value of the envelope or payload, in braces
IN_MILLISECONDS = 10**11  # as seconds, that would be the year 5138
LONGEST = 12  # digits of seconds or milliseconds, and one to spare


def holds(signature: Signature, secret: str, envelope: Mapping[str, str], body: str) -> bool:
    """Whether the envelope bears the signature that `secret` gives for it, in its time. Nothing missing is forgiven."""
    values = {**envelope, "body": body}
    parts = [values.get(name) for name in PLACE.findall(signature.of)]
    given = envelope.get(signature.value, "")
    if not secret or not given.startswith(signature.prefix) or not all(parts):
        return False
    if signature.method == "sha1_sorted":  # WeChat and WeCom: the token is one of the parts
        digest = hashlib.sha1("".join(sorted([secret, *map(str, parts)])).encode()).digest()
    else:
        text = PLACE.sub(lambda found: values[found[1]], signature.of)
        digest = hmac.new(secret.encode(), text.encode(), signature.method.removeprefix("hmac_")).digest()
    expected = digest.hex() if signature.encoding == "hex" else base64.b64encode(digest).decode()
    is_right = hmac.compare_digest(given.removeprefix(signature.prefix).encode(), expected.encode())
    return is_right and _is_in_time(signature, envelope)


def _is_in_time(signature: Signature, envelope: Mapping[str, str]) -> bool:
    """A body that is sent again long after it was signed is a replay."""
    if signature.signed_at is None or signature.received_at is None:
        return True
    signed, received = (_moment(envelope.get(name, "")) for name in (signature.signed_at, signature.received_at))
    if signed is None or received is None:
        return False
    return abs(received - signed) <= timedelta(seconds=signature.max_seconds)


def _moment(text: str) -> datetime | None:
    """ISO 8601 with offset, or seconds or milliseconds since 1970."""
    if text.isascii() and text.isdecimal() and len(text) <= LONGEST + 1:
        number = int(text)
        return datetime.fromtimestamp(number / 1000 if number >= IN_MILLISECONDS else number, UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
