"""Receipts as JSON-LD with terms of the W3C Data Privacy Vocabulary (DPV 2), in the structure of ISO/IEC TS 27560:2023.

That structure is the one of DPV's public guide "Consent Records and Receipts as per ISO/IEC TS 27560:2023 using DPV";
the standard itself was not read, and no conformance is claimed. What DPV has no term for is in `vocabulary.yaml`. The
context is inline: nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from orchestration.consent.answers.notices import NoticeBook
from orchestration.consent.answers.receipts import Receipt
from orchestration.consent.answers.wording import IRI, wording
from orchestration.consent.models import moment
from orchestration.policy.schema import Controller, Destination, Label, Policy, Purpose
from orchestration.policy.tables import retention_days
from orchestration.policy.vocabulary import vocabulary

SCHEMA_VERSION = "1"
CONTEXT: dict[str, Any] = {
    "dpv": "https://w3id.org/dpv#",
    "dct": "http://purl.org/dc/terms/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "assent": IRI,
    "dpv:hasLegalBasis": {"@type": "@id"},  # their values are terms, not text
    "dpv:isIndicatedBy": {"@type": "@id"},
}
URN = "urn:assent"
STATUS: dict[str, list[str]] = {
    "grant": ["dpv:ConsentGiven"],
    "deny": ["dpv:ConsentRefused"],
    "withdraw": ["dpv:ConsentWithdrawn"],
    "object": ["dpv:ConsentRefused", "assent:Objected"],
    "opt_out": ["dpv:ConsentRefused", "assent:OptedOut"],
    "presumed_denial": ["dpv:ConsentUnknown", "assent:PresumedDenial"],
}
Node = dict[str, Any]


class Issuer:
    """Writes receipts under the policy in force, at `now`."""

    def __init__(self, policy: Policy, book: NoticeBook, now: datetime) -> None:
        self._policy, self._book, self._now = policy, book, now
        self._controllers = {controller.name: controller for controller in policy.organisation.controllers}

    def document(self, receipts: list[Receipt]) -> Node:
        """One JSON-LD document of many receipts."""
        return {"@context": CONTEXT, "@graph": [self.node(receipt) for receipt in receipts]}

    def node(self, receipt: Receipt) -> Node:
        """One receipt: its own metadata, and the record that it is of. Never an identifier, only the subject_ref."""
        return _present(
            {
                "@id": f"{URN}:receipt:{receipt.receipt_id}",
                "@type": "dpv:ConsentReceipt",
                "dct:identifier": receipt.receipt_id,
                "dct:issued": _time(self._now),
                "assent:schemaVersion": SCHEMA_VERSION,
                "assent:structure": _labels(wording().texts["structure"]),
                "dpv:hasRecordOfActivity": self._record(receipt),
                **self._stops(receipt),
            }
        )

    def _record(self, receipt: Receipt) -> Node:
        row = receipt.record
        controller = self._controllers.get(row["controller"])
        return _present(
            {
                "@id": f"{URN}:record:{row['seq']}",
                "@type": "dpv:ConsentRecord",
                "dct:source": row["feed"],
                "dpv:hasDataSubject": {"@id": f"{URN}:subject:{row['subject_ref']}", "@type": "dpv:DataSubject"},
                "dpv:hasDataController": None if controller is None else _controller(controller),
                "dpv:hasJurisdiction": row["jurisdiction"],
                "dpv:hasProcess": [self._process(purpose, row, controller) for purpose in self._purposes(row)],
                "dpv:hasNotice": self._notice(row),
                "dpv:hasConsentStatus": self._status(row),
                "assent:ledgerSequence": row["seq"],
                "assent:recordHash": row["hash"],
            }
        )

    def _purposes(self, row: Mapping[str, Any]) -> Iterator[Purpose]:
        """The purpose that the record names; one that names none reaches all of its controller's."""
        for purpose in self._policy.purposes.purposes:
            is_own = row["controller"] in (None, *purpose.controllers)
            if row["purpose"] == purpose.name or (row["purpose"] is None and is_own and not _is_contract(purpose)):
                yield purpose

    def _process(self, purpose: Purpose, row: Mapping[str, Any], controller: Controller | None) -> Node:
        is_narrow = row["decision"] != "grant" or row["category"]
        categories = [
            category
            for category in purpose.categories
            if category == row["category"] or (not row["category"] and (is_narrow or category != "sensitive"))
        ]
        channels = [channel for channel in purpose.channels if row["channel"] in (None, channel)]
        withdrawal = {"@type": "dpv:WithdrawConsent", "dpv:isExercisedAt": controller and controller.contact}
        return _present(
            {
                "@type": "dpv:Process",
                "dpv:hasPurpose": {
                    "@id": f"{URN}:purpose:{purpose.name}",
                    "@type": "dpv:Purpose",
                    "dct:title": _labels(purpose.label),
                },
                "dpv:hasLegalBasis": self._basis(purpose, row),
                "dpv:hasPersonalData": [_category(category) for category in categories],
                "dpv:hasStorageCondition": [_storage(self._policy, c, purpose.name) for c in categories],
                "dpv:hasRecipient": [_recipient(d) for d in self._destinations(purpose, row)],
                "dpv:hasConsentControl": _present(withdrawal),
                "assent:channel": channels,
            }
        )

    def _basis(self, purpose: Purpose, row: Mapping[str, Any]) -> list[str]:
        regimes = {j.code: j.regime for j in self._policy.organisation.jurisdictions}
        regime = regimes.get(row["jurisdiction"], self._policy.organisation.default_regime)
        basis = row["basis"] or purpose.basis.get(regime)
        if basis == "contract":
            return ["dpv:Contract"]
        special = ["assent:SeparateConsent"] if row["is_separate"] or basis == "separate_consent" else []
        special += ["assent:GuardianConsent"] if row["is_guardian"] else []
        if row["method"] is None:
            return ["dpv:Consent", *special]
        is_explicit = row["method"] in vocabulary().explicit_methods
        return ["dpv:ExplicitlyExpressedConsent" if is_explicit else "dpv:ImpliedConsent", *special]

    def _destinations(self, purpose: Purpose, row: Mapping[str, Any]) -> Iterator[Destination]:
        named = {
            name
            for segment in self._policy.segments.segments
            if segment.purpose == purpose.name and row["controller"] in (None, segment.controller)
            for name in segment.destinations
        }
        for destination in self._policy.destinations.destinations:
            if destination.name in named and row["channel"] in (None, destination.channel):
                yield destination

    def _notice(self, row: Mapping[str, Any]) -> Node | None:
        if row["notice_id"] is None:
            return None
        key = (row["notice_id"], row["notice_version"], row["notice_language"])
        return _present(
            {
                "@id": f"{URN}:notice:{row['notice_id']}:{row['notice_version']}",
                "@type": "dpv:ConsentNotice",
                "dct:identifier": row["notice_id"],
                "dct:hasVersion": row["notice_version"],
                "dct:language": row["notice_language"],
                "dct:issued": self._book.published_at(row["notice_id"], row["notice_version"]),
                "assent:textSha256": self._book.sha256(*key),
            }
        )

    def _status(self, row: Mapping[str, Any]) -> Node:
        return _present(
            {
                "@type": STATUS[row["decision"]],
                "dpv:isIndicatedBy": "dpv:GuardianOfDataSubject" if row["is_guardian"] else "dpv:DataSubject",
                "dpv:isIndicatedAtTime": _time(moment(row["effective_at"])),
                "dpv:hasIndicationMethod": row["method"],
                "assent:decision": row["decision"],
                "assent:recordedAt": _time(moment(row["recorded_at"])),
                "assent:validUntil": row["until_at"] and _time(moment(row["until_at"])),
            }
        )

    def _stops(self, receipt: Receipt) -> Node:
        if receipt.stops is None:
            return {}
        held = {destination.name: destination for destination in self._policy.destinations.destinations}
        return {
            "assent:stopsAt": _time(receipt.stops.stops_at),
            "dpv:hasRecipient": [
                {**_recipient(held[file.destination]), "assent:lastUseBy": _time(file.last_use_by)}
                for file in receipt.stops.files
            ],
        }


def _controller(controller: Controller) -> Node:
    return _present(
        {
            "@id": f"{URN}:controller:{controller.name}",
            "@type": "dpv:DataController",
            "dpv:hasName": _labels(controller.label),
            "dpv:hasCountry": controller.country,
            "dpv:hasContact": controller.contact,
        }
    )


def _category(category: str) -> Node:
    kind = "dpv:SensitivePersonalData" if category == "sensitive" else "dpv:PersonalData"
    label = vocabulary().label("categories", category)
    return {"@type": kind, "assent:category": category, "dct:title": _labels(label)}


def _storage(policy: Policy, category: Any, purpose: str) -> Node:
    days = retention_days(policy, category, purpose)
    duration = None if days is None else {"@value": f"P{days}D", "@type": "xsd:duration"}
    return _present({"@type": "dpv:StorageDuration", "assent:category": category, "dpv:hasDuration": duration})


def _recipient(destination: Destination) -> Node:
    kinds = {"own": "dpv:Recipient", "processor": "dpv:DataProcessor", "controller": "dpv:ThirdParty"}
    return {
        "@id": f"{URN}:destination:{destination.name}",
        "@type": kinds[destination.role],
        "dpv:hasName": destination.legal_entity,
        "dpv:hasCountry": destination.country,
        "assent:channel": destination.channel,
        "assent:platformPermission": destination.needs_permission,
    }


def _is_contract(purpose: Purpose) -> bool:
    return set(purpose.basis.values()) == {"contract"}


def _labels(label: Label) -> list[Node]:
    return [{"@value": label.zh, "@language": "zh-CN"}, {"@value": label.en, "@language": "en"}]


def _time(at: datetime) -> Node:
    return {"@value": at.isoformat(), "@type": "xsd:dateTime"}


def _present(node: Node) -> Node:
    """Without what is unknown: an absent term says nothing, a null would say that there is none."""
    return {name: value for name, value in node.items() if value not in (None, [], {})}
