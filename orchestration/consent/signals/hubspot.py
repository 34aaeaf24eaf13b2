"""HubSpot: what its communication preferences and its webhooks say of e-mail. Not here: the CRM.

Read from: HubSpot, «Communication preferences» v3 (`subscriptionStatuses`), v4 and 2026-03 (`results` with `statuses`
of a subscriber, and the wide status «unsubscribed from all»), v1 (`timeline` of changes); «Webhooks» v3 (events:
`contact.propertyChange` of hs_email_optout and hs_email_optout_<id>, values as text; `contact.privacyDeletion`).

Codes: the subscription id. SUBSCRIBED grants it on the basis CONSENT_WITH_NOTICE alone; on another basis it is refused
and `<basis>.<id>` granted: legitimate_interest, contract, process_and_store, non_gdpr. `subscribed.<id>` is granted
whatever the basis, and where none is stated. UNSUBSCRIBED and NOT_SUBSCRIBED refuse them all, NOT_SPECIFIED is silent.
`all`, every e-mail: refused, or silent where a person did not opt out of it; never granted. One Signal per moment, and
of what it does not name it says nothing.
Values: recipient, subscriberIdString, objectId, portalId, eventId, occurredAt, timestamp, source, sourceOfStatus,
channel, legalBasis, legalBasisExplanation, causedByEvent.id, subscriptionType, businessUnitId; effectiveDate:
timestamp or occurredAt, whichever a status, change or event has (a v3 status has none)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from orchestration.consent.signals.document import (
    MAX_ENTRIES,
    Said,
    Unit,
    broken,
    by_moment,
    only,
    read_each,
    values_at,
)
from orchestration.consent.signals.signal import Answer, Signal

PARTIAL = True
GROUNDS = {  # the basis that a status states → the word before the subscription id
    "CONSENT_WITH_NOTICE": "",
    "LEGITIMATE_INTEREST_PQL": "legitimate_interest.",
    "LEGITIMATE_INTEREST_CLIENT": "legitimate_interest.",
    "LEGITIMATE_INTEREST_OTHER": "legitimate_interest.",
    "PERFORMANCE_OF_CONTRACT": "contract.",
    "PROCESS_AND_STORE": "process_and_store.",
    "NON_GDPR": "non_gdpr.",
}
ANY_BASIS = "subscribed."
PREFIXES = (*dict.fromkeys(GROUNDS.values()), ANY_BASIS)
STATUSES: dict[Any, Answer] = {"SUBSCRIBED": "granted", "NOT_SPECIFIED": "silent"}  # any other refuses
LISTS = ("subscriptionStatuses", "results", "statuses", "changes")
SUBJECT = ("recipient", "subscriberIdString", "objectId", "portalId")
OWN = (
    *SUBJECT,
    "eventId",
    "source",
    "sourceOfStatus",
    "channel",
    "legalBasis",
    "legalBasisExplanation",
    "causedByEvent.id",
    "subscriptionType",
    "businessUnitId",
)
TIMES: dict[str, Unit] = {"timestamp": "milliseconds", "occurredAt": "milliseconds"}
NAMING = ("subscriptionId", "id", "wideStatusType", "changeType", "subscriptionType")  # one is in every status or event
OPT_OUT = re.compile(r"hs_email_optout(?:_([0-9]{1,19}))?", re.ASCII)


def read(document: Any) -> list[Signal]:
    """One Signal of each moment of each subscriber."""
    return read_each(document, _document, within=("timeline",))


def _document(document: dict[str, Any]) -> list[Signal]:
    subject = values_at(document, SUBJECT, TIMES)
    parts = list(islice(_parts(document, {}, 2), MAX_ENTRIES + 1))
    if len(parts) > MAX_ENTRIES:
        return [broken(f"more than {MAX_ENTRIES} statuses", subject)]
    if not _is_entry(document) and not _holds_lists(document):
        return [broken("no subscription status and no event", subject)]
    entries = parts[:1] if _is_entry(document) else []
    entries += [part for part in parts[1:] if _is_entry(part[0]) or not _holds_lists(part[0])]
    said = [_said(part, values) for part, values in entries]
    if None in said:
        return [broken("a status that does not tell of which subscription", subject)]
    return by_moment(one for one in said if one is not None and one[0])


def _parts(
    document: dict[str, Any], above: dict[str, str], depth: int
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """The document and what its lists hold, down to statuses, changes and events, each with the values of it."""
    values = above | values_at(document, OWN, TIMES)
    if time := values.get("timestamp") or values.get("occurredAt"):
        values["effectiveDate"] = time
    yield document, values
    for found in (document[key] for key in LISTS if depth and isinstance(document.get(key), list)):
        for part in found[: MAX_ENTRIES + 1]:
            yield from _parts(part if isinstance(part, dict) else {}, values, depth - 1)


def _is_entry(part: dict[str, Any]) -> bool:
    return any(key in part for key in NAMING)


def _holds_lists(part: dict[str, Any]) -> bool:
    return any(isinstance(part.get(key), list) for key in LISTS)


def _said(entry: dict[str, Any], values: dict[str, str]) -> Said | None:
    """What an entry says: nothing (no answers) where it is of something else, None where it cannot be told of what."""
    if "subscriptionType" in entry:
        return _event(entry), values
    if "wideStatusType" in entry or entry.get("changeType") == "PORTAL_STATUS":
        word = entry.get("status", entry.get("change"))
        return {"all": "silent" if word in ("SUBSCRIBED", "NOT_SPECIFIED") else "refused"}, values
    if "changeType" in entry and entry["changeType"] != "SUBSCRIPTION_STATUS":
        return {}, values
    if "isActive" in entry and "status" not in entry:
        return {}, values  # the definition of a subscription: nobody's status
    name = only(entry.get("subscriptionId"), entry.get("id"))
    return None if name is None else (_status(name, entry), values)


def _status(name: str, entry: dict[str, Any]) -> dict[str, Answer]:
    word = entry.get("change") if entry.get("changeType") == "SUBSCRIPTION_STATUS" else entry.get("status")
    basis = entry.get("legalBasis")
    answer = STATUSES.get(word, "refused") if isinstance(word, str) else "refused"
    granted = (ANY_BASIS, GROUNDS.get(basis) if isinstance(basis, str) else None)
    return {
        f"{prefix}{name}": "refused" if answer == "granted" and prefix not in granted else answer for prefix in PREFIXES
    }


def _event(event: dict[str, Any]) -> dict[str, Answer]:
    kind, word = event["subscriptionType"], event.get("propertyValue")
    if kind == "contact.privacyDeletion":
        return {"all": "refused"}
    named = event.get("propertyName") if kind in ("contact.propertyChange", "object.propertyChange") else None
    found = OPT_OUT.fullmatch(named) if isinstance(named, str) else None
    if found is None:
        return {}
    answer: Answer = "silent" if word is False or word in ("false", "") else "refused"
    names = [f"{prefix}{found[1]}" for prefix in PREFIXES] if found[1] else ["all"]
    return dict.fromkeys(names, answer)
