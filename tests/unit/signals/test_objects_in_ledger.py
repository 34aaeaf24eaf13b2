"""What documents of partial formats become in the ledger by the shipped policy: what they name, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.signals.test_feeds import ACCOUNT, AT, EMAIL, SECONDS, Desk, desk
from tests.unit.signals.test_snowplow import enriched, preference

__all__ = ["desk"]  # a fixture

LATER = "2026-11-11T08:00:00+00:00"
WHO = {"customer_id": ACCOUNT}


def snowplow(event_type: str, *scopes: str, basis: str = "consent") -> dict[str, Any]:
    data = preference(event_type, basis, consentScopes=list(scopes))
    return enriched("consent_preferences", data, user_id=ACCOUNT, derived_tstamp=AT)


def mparticle(seconds: int = SECONDS, **state: Any) -> dict[str, Any]:
    batch = {"mpid": 7, "batch_id": seconds, "user_identities": WHO, "timestamp_unixtime_ms": seconds * 1_000}
    return batch | ({"consent_state": state} if state else {})


def consented(value: Any, seconds: int = SECONDS) -> dict[str, Any]:
    return {"consented": value, "timestamp_unixtime_ms": seconds * 1_000}


def onetrust(*purposes: tuple[str, str], **more: Any) -> dict[str, Any]:
    profiles = [{"id": name, "version": 2, "status": status, "consentDate": AT, "lastTransactionDate": AT, **more}
                for name, status in purposes]  # fmt: skip
    return {"identifier": EMAIL, "identifierType": "Email", "id": "s1", "profiles": profiles}


def hubspot(status: str, subscription: int = 7001, basis: str = "CONSENT_WITH_NOTICE", **more: Any) -> dict[str, Any]:
    row = {"subscriberIdString": EMAIL, "subscriptionId": subscription, "status": status, "legalBasis": basis}
    return {"status": "COMPLETE", "results": [{"channel": "EMAIL", **row, "timestamp": AT, **more}]}


GOLDEN: list[tuple[str, Any, list[str]]] = [
    ("snowplow", snowplow("allow_selected", "advertising"), ["account: grant personalisation"]),
    ("snowplow", snowplow("allow_selected", "analytics"), ["account: deny personalisation"]),
    ("snowplow", snowplow("implicit_consent", "advertising"), ["account: deny personalisation"]),
    ("snowplow", snowplow("allow_all", "advertising", basis="legitimate_interests"), ["account: deny personalisation"]),
    ("mparticle", mparticle(gdpr={"advertising": consented(True)}), ["account: grant personalisation"]),
    ("mparticle", mparticle(gdpr={"analytics": consented(True)}), ["account: deny personalisation"]),
    ("mparticle", mparticle(ccpa={"data_sale_opt_out": consented(True)}, gdpr={"advertising": consented(False)}),
     ["account: deny personalisation", "account: opt_out partner_sharing"]),
    ("mparticle", mparticle(), ["account: deny personalisation", "account: opt_out partner_sharing"]),
    ("onetrust", onetrust(("newsletter", "ACTIVE"), ("sms", "OPT_OUT")),
     ["email: grant email_marketing", "email: deny sms_marketing"]),
    ("onetrust", onetrust(("newsletter", "ACTIVE")), ["email: grant email_marketing"]),
    ("onetrust", onetrust(("newsletter", "ACTIVE"), withdrawalDate=AT), ["email: deny email_marketing"]),
    ("onetrust", onetrust(("newsletter", "ALWAYS_ACTIVE")), ["email: deny email_marketing"]),
    ("hubspot", hubspot("SUBSCRIBED"), ["email: grant email_marketing"]),
    ("hubspot", hubspot("SUBSCRIBED", basis="LEGITIMATE_INTEREST_PQL"), ["email: deny email_marketing"]),
    ("hubspot", hubspot("UNSUBSCRIBED"), ["email: deny email_marketing"]),
    ("hubspot", hubspot("SUBSCRIBED", 8), []),
    ("hubspot", hubspot("UNSUBSCRIBED", wideStatusType="PORTAL_WIDE"), ["email: withdraw email_marketing"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "payload", "expected"), GOLDEN, ids=[f"{one[0]}-{n}" for n, one in enumerate(GOLDEN)])
def test_document_becomes_its_records(desk: Desk, name: str, payload: Any, expected: list[str]) -> None:
    report = desk.deliver(name, payload)
    assert sorted(desk.records()) == sorted(expected)
    assert not report.refused and report.quarantined == 0
    assert desk.deliver(name, payload, file="again").accepted == 0


def test_purpose_that_left_the_state_is_refused_later(desk: Desk) -> None:
    desk.deliver("mparticle", mparticle(gdpr={"advertising": consented(True)}))
    desk.deliver("mparticle", mparticle(SECONDS + 60, gdpr={"analytics": consented(True)}), file="later")
    assert desk.records() == ["account: grant personalisation", "account: deny personalisation"]
