"""One event as WeChat and WeCom push it: an envelope of short texts, with stray spaces, whose numbers come as text or
as numbers. Not here: what an event says (`wechat*.py`, `wecom.py`)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestration.consent.signals.signal import Answer, Signal

MAX_FIELDS = 200
MAX_TEXT = 1_024  # characters of a value; the longest that WeChat documents is an EventKey of a few hundred
IDENTIFIER = re.compile(r"[A-Za-z0-9_@.-]{1,64}")  # an openid has 28 characters, a corp id 18, a template id 43
_SECONDS = re.compile(r"[0-9]{1,10}")  # milliseconds have 13 digits: a unit is never guessed
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Envelope:
    """The fields of one event, and what they tell for certain. With a problem it grants nothing."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        self.values: dict[str, str] = {}
        self.problem: str | None = None

    def text(self, field: str) -> str:
        """The text of a field, `""` where there is none."""
        return plain_text(self.body.get(field))

    def take(self, name: str, field: str, *, required: bool = True) -> None:
        """Notes an identifier by the name that policy knows it by."""
        found = self.text(field)
        if IDENTIFIER.fullmatch(found):
            self.values[name] = found
        elif required or self.body.get(field) not in (None, ""):
            self.fail(f"no readable {field}")

    def take_time(self, field: str) -> None:
        """Notes the instant of the event, which is in whole seconds, as `time`."""
        found = self.text(field)
        if _SECONDS.fullmatch(found) and int(found):
            self.values["time"] = datetime.fromtimestamp(int(found), UTC).isoformat()
        else:
            self.fail(f"no readable {field}")

    def fail(self, problem: str) -> None:
        """The first problem is the one that is told."""
        self.problem = self.problem or problem

    def signal(self, answers: Mapping[str, Answer], *key: str, **more: str) -> Signal:
        """What the event says. Its `event_id` is the same for each retry: a key of the values and of `key`."""
        values = {**self.values, **{name: value for name, value in more.items() if value}}
        if self.problem:
            return Signal(values=values, problem=self.problem)
        parts = [*(values.get(name, "") for name in _KEYED), self.text("MsgId"), *key]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        return Signal(answers=answers, values={**values, "event_id": digest}, fields=dict(values))


_KEYED = ("account", "corp", "openid", "external_userid", "adviser", "time", "event", "template")


def trimmed(document: Any) -> dict[str, Any] | None:
    """An object with its names trimmed; None where it is none, or where two names then are one."""
    if not isinstance(document, dict) or len(document) > MAX_FIELDS:
        return None
    found: dict[str, Any] = {}
    for name, value in document.items():
        short = name.strip() if isinstance(name, str) else ""
        if not short or short in found:
            return None
        found[short] = value
    return found


def opened(document: Any) -> dict[str, Any] | None:
    """The fields of an event: of `{"xml": {...}}`, which the XML reader gives, or of the bare JSON object."""
    body = trimmed(document)
    return trimmed(body["xml"]) if body is not None and list(body) == ["xml"] else body


def plain_text(value: Any) -> str:
    """A text without the spaces around it, or a whole number as text; `""` for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**20:
        return str(value)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return ""
    found = value.strip()
    return "" if _CONTROL.search(found) else found
