"""TrustArc: the decision of its cookie consent manager, and consents of its Consent & Preference Manager. Not here:
individual rights requests.

Read from: TrustArc's own Segment wrapper (`getGDPRConsentDecision` gives `consentDecision`, a list of category numbers,
and `source`: only `asserted` is a decision of the visitor); TrustArc help, «External Consent Controller» (a consent is
ACTIVE, EXPIRED or PENDING) and «External Data Subject Controller» (`dataFieldValues` of `dataField` and `formValues`).
TrustArc publishes no schema and no list of what a form value may say: which words mean an opt-in is not documented,
so only `true` and plain spellings of «opt in» count.

Codes: `category.<number>`; 1 is what a site requires without asking: it is `required.1`, and `category.1` refused. Of a
form: the id of the data field, granted only in a consent whose status is ACTIVE.
One Signal per consent and moment, which speaks of its own fields (a decision: of every category, `category.*`).
Values: userId, anonymousId, timestamp, domain, source, id, dataSubjectId, createdDate, validityEndDate; of the consent
that a field was given in: consent.id, consent.createdDate, consent.validityEndDate, consent.consentForm.id,
consent.websiteSource; identifier.<name> of the data subject's identifiers; effectiveDate: consent.createdDate, or of a
decision its timestamp."""

from __future__ import annotations

from typing import Any

from orchestration.consent.signals.document import (
    MAX_ENTRIES,
    Said,
    Unit,
    at,
    broken,
    by_moment,
    code,
    read_each,
    text,
    values_at,
)
from orchestration.consent.signals.signal import Answer, Signal

PARTIAL = True
OPT_IN = ("OPT_IN", "opt_in", "Opt-in", "Opt-In", "opt-in", "Opt In", "Opt in")
REQUIRED_CATEGORY = 1
MAX_CATEGORY = 99
MAX_VALUES = 100  # of one form field
TEXTS = ("userId", "anonymousId", "timestamp", "domain", "source", "id", "dataSubjectId")
TIMES: dict[str, Unit] = {"createdDate": "milliseconds", "validityEndDate": "milliseconds"}
CONSENT_TEXTS = ("consent.id", "consent.consentForm.id", "consent.websiteSource")
CONSENT_TIMES: dict[str, Unit] = {f"consent.{key}": unit for key, unit in TIMES.items()}


def read(document: Any) -> list[Signal]:
    """One Signal of a decision, or of each consent that fields of a data subject were given in."""
    return read_each(document, _document, within=("content",))


def _document(document: dict[str, Any]) -> list[Signal]:
    values = values_at(document, TEXTS, TIMES) | _identifiers(document)
    decisions = [_decision(document, values)] if "consentDecision" in document else []
    fields = document.get("dataFieldValues")
    if decisions and fields is None:
        return decisions
    if not isinstance(fields, list) or len(fields) > MAX_ENTRIES:
        return [*decisions, broken("neither a consentDecision nor a list of dataFieldValues", values)]
    said = [_field(field, document, values) for field in fields]
    if None in said:
        return [*decisions, broken("a refused field that cannot be read", values)]
    return decisions + (
        by_moment((one for one in said if one is not None), "consent.createdDate") or [Signal(values=values)]
    )


def _decision(document: dict[str, Any], values: dict[str, str]) -> Signal:
    decision = document["consentDecision"]
    if not isinstance(decision, list) or len(decision) > MAX_CATEGORY:
        return broken("consentDecision is no list of categories", values)
    if "timestamp" in values:
        values = values | {"effectiveDate": values["timestamp"]}
    answers: dict[str, Answer] = {"category.*": "refused", f"required.{REQUIRED_CATEGORY}": "refused"}
    for number in decision if document.get("source") == "asserted" else []:
        if _is_category(number):
            answers[f"{'required' if number == REQUIRED_CATEGORY else 'category'}.{number}"] = "granted"
    return Signal(answers, values)


def _is_category(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_CATEGORY


def _field(field: Any, document: dict[str, Any], values: dict[str, str]) -> Said | None:
    """What is said in a field; None where it is refused and nobody can tell which field it is."""
    statuses = [at(field, "consent.status"), document.get("status")]
    is_active = any(statuses) and all(status in (None, "ACTIVE") for status in statuses)
    given = at(field, "formValues")
    words = [at(value, "value") for value in given] if isinstance(given, list) and len(given) <= MAX_VALUES else []
    is_granted = is_active and bool(words) and all(word is True or word in OPT_IN for word in words)
    name = code(at(field, "dataField.id"))
    if name is None:
        return ({}, values) if is_granted else None
    own = values_at(field, CONSENT_TEXTS, CONSENT_TIMES)
    if "consent.createdDate" in own:
        own["effectiveDate"] = own["consent.createdDate"]
    return {name: "granted" if is_granted else "refused"}, values | own


def _identifiers(document: dict[str, Any]) -> dict[str, str]:
    """`identifier.<name>` → its value, of a data subject's identifiers that have one value."""
    found: dict[str, str] = {}
    for group in _list(document, "dataSubjectIdentifiers"):
        for identifier in _list(group, "identifierValues"):
            name, given = text(at(identifier, "identifier.name")), _list(identifier, "formValues")
            value = text(at(given[0], "value")) if len(given) == 1 else None
            if name is not None and value is not None:
                found[f"identifier.{name}"] = value
    return found


def _list(part: Any, key: str) -> list[Any]:
    value = at(part, key)
    return value[:MAX_VALUES] if isinstance(value, list) else []
