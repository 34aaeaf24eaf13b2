"""Google Consent Mode v2 as an object: what gtag, the Measurement Protocol and Google's upload APIs say. Not here: the
`gcs` and `gcd` parameters of Google's pings, for which no specification is published.

Read from: Google, «Overview: Consent mode parameters» (the seven types, granted or denied); Measurement Protocol
`consent` and Google Ads API `ConsentStatus` (GRANTED, DENIED, UNSPECIFIED); Data Manager API v1 `Consent`
(`adUserData`, `adPersonalization`; CONSENT_GRANTED, CONSENT_DENIED). The object stands alone, under `consent`, or in a
command `["consent", "update", {…}]`; a `default` command is what a site presumes, nobody's choice: it grants nothing.

Codes: the seven types. Only the three words for granted grant; each type that an object does not name is refused.
Values: user_id, client_id, app_instance_id, event_id, timestamp, timestamp_micros, command."""

from __future__ import annotations

from typing import Any

from orchestration.consent.signals.document import at, broken, read_each, values_at
from orchestration.consent.signals.signal import Answer, Signal, malformed

TYPES = (
    "ad_storage",
    "ad_user_data",
    "ad_personalization",
    "analytics_storage",
    "functionality_storage",
    "personalization_storage",
    "security_storage",
)
SPELLINGS = {"ad_user_data": "adUserData", "ad_personalization": "adPersonalization"}  # of the upload APIs
GRANTED = ("granted", "GRANTED", "CONSENT_GRANTED")
TEXTS = ("user_id", "client_id", "app_instance_id", "event_id", "timestamp")


def read(document: Any) -> list[Signal]:
    """One Signal of each object or command."""
    if isinstance(document, list) and any(isinstance(part, str) for part in document):
        return [_command(document)]
    return read_each(document, _object)


def _command(command: list[Any]) -> Signal:
    if len(command) != 3 or command[0] != "consent" or not isinstance(command[2], dict):
        return malformed("a command that is no consent command with an object")
    if command[1] == "update":
        return Signal(_answers(command[2]), {"command": "update"})
    if command[1] == "default":
        return Signal(dict.fromkeys(TYPES, "refused"), {"command": "default"})
    return malformed("a consent command that is neither an update nor a default")


def _object(document: dict[str, Any]) -> list[Signal]:
    values = values_at(document, TEXTS, {"timestamp_micros": "microseconds"})
    consent = document.get("consent")
    if consent is not None and not isinstance(consent, dict):
        return [broken("consent is no object", values)]
    return [Signal(_answers(document, consent), values)]


def _answers(*sources: Any) -> dict[str, Answer]:
    """Of each type, granted only if every word that was said of it says so; nothing if no type is named at all."""
    words = {
        name: [at(source, key) for source in sources for key in (name, SPELLINGS.get(name, name)) if _has(source, key)]
        for name in TYPES
    }
    if not any(words.values()):
        return {}
    return {
        name: "granted" if said and all(word in GRANTED for word in said) else "refused" for name, said in words.items()
    }


def _has(source: Any, key: str) -> bool:
    return isinstance(source, dict) and key in source
