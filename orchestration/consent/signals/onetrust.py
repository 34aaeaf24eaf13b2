"""OneTrust: purposes of a data subject as its APIs, consent receipts and webhooks give them. Not here: the cookie
banner's groups (Segment's and RudderStack's consent objects carry those).

Read from: OneTrust, Universal Consent & Preference Management API, «Data Subjects V4» (`profiles`) and V1/V3
(`purposes`), pages under `content`; «Consent Receipts» (`purposes` with Id, Version, TransactionType); the consent
webhook (`payload.profiles` with `profileFields`), after a published sample of one.

Codes: the purpose id. Only ACTIVE and CONFIRMED grant, and not with a withdrawal or reactivation date, nor for a test
subject; every other status refuses, IMPLICIT and EXTEND too. `always_active.<id>` is granted by ALWAYS_ACTIVE, which is
no consent. A chosen option of a purpose preference is `<id>.<preference>.<option>`, a topic `<id>.<topic>`;
what is not listed is refused (`<id>.*`), and every topic where an entry that is no yes names none. One Signal per
moment and version, which speaks of its own purposes.
Values: identifier, identifierType, id, language, receiptId, payload.dataSubjectGuid, payload.dataSubjectEmail, eventId,
eventTime; of the purpose: version, consentDate, withdrawalDate, expiryDate, lastTransactionDate, lastInteractionDate,
lastReceiptId, lastTransactionCollectionPointId; effectiveDate, chosen here: when a grant was given, else when it ended.
Whether an expiryDate has passed, the reader of a Signal knows: there is no clock here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from orchestration.consent.signals.document import (
    Said,
    at,
    broken,
    by_moment,
    code,
    moment,
    only,
    read_each,
    say,
    text,
    values_at,
)
from orchestration.consent.signals.signal import Answer, Signal

PARTIAL = True
GRANTING = ("ACTIVE", "CONFIRMED")
STATUSES = ("status", "Status", "transactionType", "TransactionType", "profileFields.TransactionStatus")
WITHDRAWN = (
    *("withdrawalDate", "WithdrawalDate", "profileFields.WithdrawalDate"),
    *("withdrawnDate", "WithdrawnDate", "profileFields.WithdrawnDate"),
)
ENDED = (*WITHDRAWN, "reactivationDate", "ReactivationDate")
IDENTITIES = ("purposeId", "id", "Id", "guid")
# 20 purposes are the most that a receipt may hold, by OneTrust's limits. These two together take 0.8 s.
MAX_PURPOSES, MAX_CHOICES = 300, 500  # of a subject; topics and options of one purpose
SUBJECT = ("identifier", "identifierType", "language", "receiptId", "eventId", "eventTime")
WEBHOOK = ("payload.dataSubjectGuid", "payload.dataSubjectEmail")
TEXTS = ("lastReceiptId", "lastTransactionCollectionPointId")
DATES = {  # the name of a date → where it may stand in a purpose
    "consentDate": ("consentDate", "ConsentDate", "profileFields.ConsentDate"),
    "withdrawalDate": WITHDRAWN,
    "expiryDate": ("expiryDate", "ExpiryDate", "profileFields.ExpiryDate"),
    "lastTransactionDate": ("lastTransactionDate", "profileFields.LastTransaction"),
    "lastInteractionDate": ("lastInteractionDate", "profileFields.LastInteraction"),
}
ON_RECEIPT = ("consentDate", "withdrawnDate", "interactionDate", "eventTime")
GIVEN = ("consentDate", "lastInteractionDate", "lastTransactionDate", "interactionDate", "eventTime")
REFUSED = (
    "withdrawalDate",
    "withdrawnDate",
    "lastInteractionDate",
    "lastTransactionDate",
    "interactionDate",
    "eventTime",
)


def read(document: Any) -> list[Signal]:
    """One Signal of each moment and version at which purposes of a data subject were decided."""
    return read_each(document, _subject, within=("content",))


def _subject(document: dict[str, Any]) -> list[Signal]:
    values = values_at(document, (*SUBJECT, *WEBHOOK))
    lists = [at(document, path) for path in ("profiles", "purposes", "payload.profiles", "payload.purposes")]
    purposes = [purpose for found in lists if isinstance(found, list) for purpose in found[: MAX_PURPOSES + 1]]
    if any(at(document, path) is not None for path in STATUSES):
        purposes.append(document)  # of a page of purposes, each with the identifier of its subject
    elif any(isinstance(found, list) for found in lists):
        values |= values_at(document, ["id"])
    else:
        return [broken("no purposes", values)]
    if len(purposes) > MAX_PURPOSES:
        return [broken(f"more than {MAX_PURPOSES} purposes", values)]
    said = [_purpose(purpose, document, values) for purpose in purposes]
    if None in said:
        return [broken("a refused purpose that cannot be read", values)]
    return by_moment(one for one in said if one is not None) or [Signal(values=values)]


def _purpose(purpose: Any, document: dict[str, Any], values: dict[str, str]) -> Said | None:
    """What is said of a purpose; None where it is refused and nobody can tell which purpose it is."""
    statuses = [word for path in STATUSES if (word := at(purpose, path)) is not None]
    is_over = _is_test(document) or any(_is_there(at(part, path)) for path in ENDED for part in (purpose, document))
    is_granted = bool(statuses) and not is_over and all(word in GRANTING for word in statuses)
    is_always = bool(statuses) and not is_over and all(word == "ALWAYS_ACTIVE" for word in statuses)
    name = only(*(at(purpose, path) for path in IDENTITIES))
    if name is None:
        return ({}, values) if is_granted or is_always else None
    answers: dict[str, Answer] = {
        name: "granted" if is_granted else "refused",
        f"always_active.{name}": "granted" if is_always else "refused",
        f"{name}.*": "refused",
    }
    choices = list(islice(_choices(purpose), MAX_CHOICES + 1))
    for choice, is_chosen in choices if len(choices) <= MAX_CHOICES else []:
        say(answers, f"{name}.{choice}", "granted" if is_granted and is_chosen else "refused")
    return answers, values | _dated(purpose, document, is_granted, "EXPIRED" in statuses)


def _is_test(document: dict[str, Any]) -> bool:
    flags = [document.get(key) for key in ("test", "testDataSubject")]
    return not all(flag is None or flag is False or flag == "false" for flag in flags)


def _is_there(value: Any) -> bool:
    return value is not None and value != ""


def _choices(purpose: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Topics and options, and whether each was chosen; a listed option is a chosen one. Of topics none is where one of
    them is no yes and names none: it may refuse any."""
    topics, preferences = _list(purpose, "topics"), _list(purpose, "Preferences")
    told = [(code(at(topic, "id")), True) for topic in topics]
    told += [(code(at(topic, "topicGuid")), at(topic, "value") is True) for topic in topics if not _is_listed(topic)]
    told += [(code(at(topic, "TopicId")), at(topic, "TransactionType") == "OPT_IN") for topic in preferences]
    is_whole = len(topics) <= MAX_CHOICES and len(preferences) <= MAX_CHOICES  # what lies beyond was not read
    is_clear = is_whole and all(name is not None or is_chosen for name, is_chosen in told)
    yield from ((name, is_chosen and is_clear) for name, is_chosen in told if name is not None)
    for preference in (*_list(purpose, "customPreferences"), *_list(purpose, "CustomPreferences")):
        known = only(*(at(preference, key) for key in IDENTITIES))
        for option in (*_list(preference, "options"), *_list(preference, "Options")):
            name = only(*(at(option, key) for key in IDENTITIES)) if isinstance(option, dict) else code(option)
            if known is not None and name is not None:
                yield f"{known}.{name}", True


def _is_listed(topic: Any) -> bool:
    """By its id alone, which says that it was chosen."""
    is_alone = at(topic, "topicGuid") is None and at(topic, "value") is None
    return is_alone and code(at(topic, "id")) is not None


def _list(part: Any, key: str) -> list[Any]:
    found = at(part, key)
    return found[: MAX_CHOICES + 1] if isinstance(found, list) else []


def _dated(purpose: Any, document: dict[str, Any], is_granted: bool, is_expired: bool) -> dict[str, str]:
    """A purpose's version, dates and receipt, and which of the dates is that of the decision."""
    own = values_at(purpose, TEXTS)
    if version := text(at(purpose, "version")) or text(at(purpose, "Version")):
        own["version"] = version
    for name, places in DATES.items():
        date = next((date for place in places if (date := moment(at(purpose, place), "seconds"))), None)
        if date is not None:
            own[name] = date
    known = values_at(document, ON_RECEIPT) | own
    order = GIVEN if is_granted else ("expiryDate", *REFUSED) if is_expired else REFUSED
    effective = next((known[name] for name in order if name in known), None)
    return own | ({"effectiveDate": effective} if effective else {})
