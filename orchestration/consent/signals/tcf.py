"""IAB TCF v2.0 to v2.3: `decode` a TC string into a signal, `encode` a model. Not here: reading, writing and answering.

Answers: see `tcf_answers`. Values: `created`, `lastUpdated` (ISO 8601, UTC), `cmpId`, `cmpVersion`, `consentScreen`,
`consentLanguage`, `vendorListVersion`, `tcfPolicyVersion`, `publisherCC`. Fields: all that the specification names, the
vendors of a restriction as ranges, first and last: 4,095 restrictions may each name 65,535.

A v1 string is malformed. A string that was updated after 28 February 2026, or claims the policy of v2.3, is malformed
without its disclosed vendors. A string of global scope (`isServiceSpecific` 0) is read, and refuses everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestration.consent.signals.bits import FormatError
from orchestration.consent.signals.lazy_fields import LazyFields
from orchestration.consent.signals.signal import MAX_SIGNAL, Signal, malformed
from orchestration.consent.signals.tcf_answers import TcAnswers
from orchestration.consent.signals.tcf_model import Ids, TcString, instant
from orchestration.consent.signals.tcf_reader import read
from orchestration.consent.signals.tcf_writer import write

__all__ = ["decode", "decode_many", "encode", "signal_of"]


def decode(text: str) -> Signal:
    if not isinstance(text, str) or len(text) > MAX_SIGNAL:
        return malformed("not a text of a bearable length")
    try:
        return signal_of(read(text))
    except FormatError as defect:
        return malformed(str(defect))


def decode_many(texts: Sequence[str]) -> list[Signal]:
    """One signal per text, in order; equal texts, as most of a site's are, are decoded once and share their signal."""
    signals = {text: decode(text) for text in dict.fromkeys(texts)}
    return [signals[text] for text in texts]


def encode(model: TcString) -> str:
    return write(model)


def signal_of(string: TcString) -> Signal:
    created = instant(string.created)
    values = {
        "created": created,
        "lastUpdated": created if string.last_updated == string.created else instant(string.last_updated),
        "cmpId": str(string.cmp_id),
        "cmpVersion": str(string.cmp_version),
        "consentScreen": str(string.consent_screen),
        "consentLanguage": string.consent_language,
        "vendorListVersion": str(string.vendor_list_version),
        "tcfPolicyVersion": str(string.policy_version),
        "publisherCC": string.publisher_country,
    }
    return Signal(TcAnswers(string), values, None, LazyFields(lambda: _fields(string)))


def _fields(string: TcString) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "version": 2,
        "created": instant(string.created),
        "lastUpdated": instant(string.last_updated),
        "cmpId": string.cmp_id,
        "cmpVersion": string.cmp_version,
        "consentScreen": string.consent_screen,
        "consentLanguage": string.consent_language,
        "vendorListVersion": string.vendor_list_version,
        "tcfPolicyVersion": string.policy_version,
        "isServiceSpecific": string.service_specific,
        "useNonStandardTexts": string.non_standard_texts,
        "specialFeatureOptIns": string.special_features.numbers(),
        "purposesConsent": string.purposes_consent.numbers(),
        "purposesLITransparency": string.purposes_interest.numbers(),
        "purposeOneTreatment": string.purpose_one_treatment,
        "publisherCC": string.publisher_country,
        "vendorsConsent": string.vendors_consent.numbers(),
        "vendorsLegitimateInterest": string.vendors_interest.numbers(),
        "publisherRestrictions": [
            {"purposeId": purpose, "restrictionType": kind, "vendors": vendors.ranges()}
            for purpose, kind, vendors in string.restrictions
        ],
    }
    _put(fields, "disclosedVendors", string.vendors_disclosed)
    _put(fields, "allowedVendors", string.vendors_allowed)
    if string.publisher is not None:
        _put(fields, "pubPurposesConsent", string.publisher.consent)
        _put(fields, "pubPurposesLITransparency", string.publisher.interest)
        fields["numCustomPurposes"] = string.publisher.custom_consent.last
        _put(fields, "customPurposesConsent", string.publisher.custom_consent)
        _put(fields, "customPurposesLITransparency", string.publisher.custom_interest)
    return fields


def _put(fields: dict[str, Any], name: str, ids: Ids | None) -> None:
    if ids is not None:
        fields[name] = ids.numbers()
