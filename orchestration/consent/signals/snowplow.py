"""Snowplow: the consent event of the Enhanced Consent plugin, and the two older consent events. Not here: the tracker
protocol's encoded form (`ue_pr`, `ue_px`), which the collector has opened by then.

Read from: Iglu Central, `com.snowplowanalytics.snowplow` consent_preferences, consent_granted, consent_withdrawn and
consent_document, each 1-0-0; Snowplow, «Track consent and GDPR on web». A self-describing event stands alone, under
`unstruct_event`, or in an enriched event in the analytics SDK's form (`unstruct_event_com_…_consent_preferences_1`).

Codes: the consent scopes as they stand, granted by allow_all and allow_selected on the basis consent; on another basis
`<basisForProcessing>.<scope>` is granted and the scope refused. Implied consent, pending, expired and withdrawn refuse.
A scope that is not listed is refused (`*`). Older events: `document.<id>`; a withdrawal of all is `document.*` refused.
Values: event_id, user_id, domain_userid, network_userid, derived_tstamp, collector_tstamp, dvce_created_tstamp;
eventType, basisForProcessing, consentVersion, consentUrl, gdprApplies, domainsApplied (separated by spaces);
document.id, document.version, document.name, expiry. Where several documents are attached, one Signal of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestration.consent.signals.document import (
    MAX_ENTRIES,
    Said,
    at,
    broken,
    by_moment,
    code,
    read_each,
    settled,
    text,
    values_at,
)
from orchestration.consent.signals.signal import Answer, Signal

PARTIAL = True  # of the older events; a consent preference answers for every scope
ROOT = "iglu:com.snowplowanalytics.snowplow"
COLUMN = "com_snowplowanalytics_snowplow"  # how the analytics SDK names the same vendor
EVENTS = ("consent_preferences", "consent_granted", "consent_withdrawn")
ALLOWING = ("allow_all", "allow_selected")
REFUSING = ("deny_all", "pending", "implicit_consent", "withdrawn", "expired")
BASES = ("consent", "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests")
TEXTS = (
    "event_id",
    "user_id",
    "domain_userid",
    "network_userid",
    "derived_tstamp",
    "collector_tstamp",
    "dvce_created_tstamp",
)
REQUIRED = ("eventType", "basisForProcessing", "consentVersion", "consentUrl")


def read(document: Any) -> list[Signal]:
    """One Signal of each event, or of each document that an older event names."""
    return read_each(document, _event)


def _event(event: dict[str, Any]) -> list[Signal]:
    values = values_at(event, TEXTS)
    documents = list(_documents(event))
    if len(documents) > MAX_ENTRIES:
        return [broken(f"more than {MAX_ENTRIES} consent documents", values)]
    signals: list[Signal] = []
    for name, data in _events(event):
        if not isinstance(data, dict):
            signals.append(broken("a consent event without data", values))
        elif name == "consent_preferences":
            signals.append(_preferences(data, values))
        else:
            signals += _granted(data, documents, values) if name == EVENTS[1] else _withdrawn(data, documents, values)
    return settled(signals) or [broken("no consent event of a known schema", values)]


def _events(event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The consent events that this is or carries: by schema and data, or by the analytics SDK's column."""
    places = [event, event.get("data"), event.get("unstruct_event"), at(event, "unstruct_event.data")]
    for name in EVENTS:
        yield from ((name, part.get("data")) for part in places if _is_of(part, name))
        if (data := event.get(f"unstruct_event_{COLUMN}_{name}_1")) is not None:
            yield name, data


def _documents(event: dict[str, Any]) -> Iterator[Any]:
    for part in (event.get("contexts"), at(event, "contexts.data"), event.get("context")):
        for entity in part[: MAX_ENTRIES + 1] if isinstance(part, list) else []:
            if _is_of(entity, "consent_document"):
                yield entity.get("data")
    column = event.get(f"contexts_{COLUMN}_consent_document_1")
    yield from column[: MAX_ENTRIES + 1] if isinstance(column, list) else []


def _is_of(part: Any, name: str) -> bool:
    return bool(at(part, "schema") == f"{ROOT}/{name}/jsonschema/1-0-0")


def _preferences(data: dict[str, Any], before: dict[str, str]) -> Signal:
    values = before | values_at(data, REQUIRED)
    if isinstance(data.get("gdprApplies"), bool):
        values["gdprApplies"] = str(data["gdprApplies"]).lower()
    domains, scopes = (_names(data.get(key)) for key in ("domainsApplied", "consentScopes"))
    named = [name for name in scopes if name is not None]
    if not all(key in values for key in REQUIRED) or not any(domains) or not named:
        return broken("a consent preference without all that its schema requires", values)
    values["domainsApplied"] = " ".join(name for name in domains if name is not None)
    event_type, basis = data["eventType"], data["basisForProcessing"]
    if event_type not in (*ALLOWING, *REFUSING) or basis not in BASES:
        return broken("a consent preference of an unknown type or basis", values)
    if event_type in REFUSING and None in scopes:
        return broken("a refused scope that cannot be read", values)
    answers: dict[str, Answer] = {"*": "refused"}
    for ground in BASES:
        prefix, is_granted = "" if ground == "consent" else f"{ground}.", event_type in ALLOWING and ground == basis
        answers |= {f"{prefix}{name}": "granted" if is_granted else "refused" for name in named}
    return Signal(answers, values)


def _names(value: Any) -> list[str | None]:
    """The items of a list of names, None for each that cannot be read."""
    return [code(item) for item in value] if isinstance(value, list) and len(value) <= MAX_ENTRIES else []


def _granted(data: dict[str, Any], documents: list[Any], values: dict[str, str]) -> list[Signal]:
    values = values | values_at(data, ["expiry"])
    said: list[Said] = [
        ({f"document.{name}": "granted"}, values | _named(document))
        for document in documents
        if (name := code(at(document, "id"))) and text(at(document, "version"))
    ]
    return by_moment(said) or [broken("a grant that names no document and version", values)]


def _withdrawn(data: dict[str, Any], documents: list[Any], values: dict[str, str]) -> list[Signal]:
    is_all, names = data.get("all"), [code(at(document, "id")) for document in documents]
    if not isinstance(is_all, bool) or None in names or not (is_all or names):
        return [broken("a withdrawal that does not tell of which documents", values)]
    said: list[Said] = [
        ({f"document.{name}": "refused"}, values | _named(document))
        for name, document in zip(names, documents, strict=True)
    ]
    return by_moment([*said, ({"document.*": "refused"}, values)] if is_all else said)


def _named(document: Any) -> dict[str, str]:
    return {f"document.{key}": value for key, value in values_at(document, ["id", "version", "name"]).items()}
