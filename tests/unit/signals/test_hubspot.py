"""HubSpot's statuses and webhooks: SUBSCRIBED is consent on one basis alone, and an opt-out of all is never a grant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from orchestration.consent.signals import hubspot
from orchestration.consent.signals.document import asked
from tests.unit.signals.objects import RULES, answers, check_form, check_removal, documents, fails, granted, values

CONSENT = "CONSENT_WITH_NOTICE"
WORDS_OF = {
    CONSENT: "",
    "LEGITIMATE_INTEREST_PQL": "legitimate_interest.",
    "LEGITIMATE_INTEREST_CLIENT": "legitimate_interest.",
    "LEGITIMATE_INTEREST_OTHER": "legitimate_interest.",
    "PERFORMANCE_OF_CONTRACT": "contract.",
    "PROCESS_AND_STORE": "process_and_store.",
    "NON_GDPR": "non_gdpr.",
}
CODES = {f"{prefix}7" for prefix in (*WORDS_OF.values(), "subscribed.")}


def status(word: Any = "SUBSCRIBED", basis: Any = CONSENT, **more: Any) -> dict[str, Any]:
    return {
        "id": "7",
        "name": "News",
        "status": word,
        "legalBasis": basis,
        "sourceOfStatus": "SUBSCRIPTION_STATUS",
        **more,
    }


def latest(word: str = "SUBSCRIBED", basis: str = CONSENT, **more: Any) -> dict[str, Any]:
    return {
        "channel": "EMAIL",
        "subscriberIdString": "amy@example.com",
        "subscriptionId": 7,
        "status": word,
        "source": "Form",
        "legalBasis": basis,
        "legalBasisExplanation": "Ticked the box",
        "timestamp": "2023-01-01T00:00:00Z",
        **more,
    }


def webhook(name: str, value: Any, kind: str = "contact.propertyChange") -> dict[str, Any]:
    return {
        "eventId": 100,
        "subscriptionId": 9,
        "portalId": 62515,
        "occurredAt": 1672531200000,
        "subscriptionType": kind,
        "objectId": 123,
        "propertyName": name,
        "propertyValue": value,
    }


WIDE = {
    "channel": "EMAIL",
    "status": "UNSUBSCRIBED",
    "subscriberIdString": "amy@example.com",
    "timestamp": "2023-01-01T00:00:00Z",
    "wideStatusType": "PORTAL_WIDE",
}
CHANGES = [
    {"change": "SUBSCRIBED", "changeType": "SUBSCRIPTION_STATUS", "subscriptionId": 7, "causedByEvent": {"id": "x"}},
    {"change": "UNSUBSCRIBED", "changeType": "SUBSCRIPTION_STATUS", "subscriptionId": 8},
    {"change": "UNSUBSCRIBED", "changeType": "PORTAL_STATUS"},
    {"change": "BOUNCED", "changeType": "PORTAL_BOUNCE"},
]
TIMELINE = {
    "timeline": [{"timestamp": 1672531200000, "recipient": "amy@example.com", "changes": CHANGES}],
    "hasMore": False,
}
GOLDENS: list[Any] = [
    {"recipient": "amy@example.com", "subscriptionStatuses": [status(), status("NOT_SUBSCRIBED", id="8")]},
    {"status": "COMPLETE", "results": [latest(), latest("UNSUBSCRIBED", subscriptionId=8)]},
    {"status": "COMPLETE", "results": [{"subscriberIdString": "amy@example.com", "statuses": [latest()]}]},
    {"status": "COMPLETE", "results": [WIDE]},
    [webhook("hs_email_optout", "true"), webhook("hs_email_optout_7", "false"), webhook("firstname", "Amy")],
    TIMELINE,
    latest(basis="LEGITIMATE_INTEREST_PQL"),
]
WORDS: list[Any] = [
    *("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SUBSCRIBED", "NOT_SPECIFIED", *WORDS_OF, "SUBSCRIPTION_STATUS", 7, "8"),
    *(status(), latest("UNSUBSCRIBED"), WIDE, CHANGES[0], "true", "false", "hs_email_optout", "hs_email_optout_7"),
]


@pytest.mark.parametrize(("basis", "prefix"), list(WORDS_OF.items()))
def test_subscribed_grants_under_the_code_of_its_basis(basis: str, prefix: str) -> None:
    for document in (
        {"recipient": "a@example.com", "subscriptionStatuses": [status(basis=basis)]},
        latest(basis=basis),
    ):
        signals = hubspot.read(document)
        assert granted(signals) == {f"{prefix}7", "subscribed.7"} and set(signals[0].answers) == CODES
        assert (signals[0].answers["7"] == "granted") == (basis == CONSENT)


@pytest.mark.parametrize("basis", [None, "", "CONSENT", "consent_with_notice", True, ["CONSENT_WITH_NOTICE"], {}])
def test_basis_that_is_not_known_is_no_consent(basis: Any) -> None:
    assert granted(hubspot.read(latest(basis=basis))) == {"subscribed.7"}


@pytest.mark.parametrize(
    "word", ["UNSUBSCRIBED", "NOT_SUBSCRIBED", "subscribed", "ACTIVE", "", None, True, ["SUBSCRIBED"]]
)
def test_every_other_status_refuses_on_every_basis(word: Any) -> None:
    assert answers(hubspot.read(latest(word))) == [dict.fromkeys(CODES, "refused")]


def test_not_specified_is_silence() -> None:
    assert answers(hubspot.read(latest("NOT_SPECIFIED"))) == [dict.fromkeys(CODES, "silent")]


def test_a_status_speaks_of_its_own_subscription_only() -> None:
    (signal,) = hubspot.read(latest())
    assert hubspot.PARTIAL and asked(signal, "8", hubspot.PARTIAL) is None


def test_values_of_a_status_and_of_a_change() -> None:
    assert values(hubspot.read(GOLDENS[2])) == [
        {
            "subscriberIdString": "amy@example.com",
            "channel": "EMAIL",
            "source": "Form",
            "legalBasis": CONSENT,
            "legalBasisExplanation": "Ticked the box",
            "timestamp": "2023-01-01T00:00:00Z",
            "effectiveDate": "2023-01-01T00:00:00Z",
        }
    ]
    time = "2023-01-01T00:00:00.000+00:00"
    signals = hubspot.read(TIMELINE)
    assert [(signal.values["recipient"], signal.values["timestamp"]) for signal in signals] == [
        ("amy@example.com", time)
    ] * 2
    assert granted(signals) == {"subscribed.7"}
    assert signals[1].answers["8"] == "refused" and signals[1].answers["all"] == "refused"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (webhook("hs_email_optout", "true"), {"all": "refused"}),
        (webhook("hs_email_optout", "false"), {"all": "silent"}),
        (webhook("hs_email_optout", ""), {"all": "silent"}),
        (webhook("hs_email_optout", "yes"), {"all": "refused"}),
        (webhook("hs_email_optout", None), {"all": "refused"}),
        (webhook("hs_email_optout_7", "true"), dict.fromkeys(CODES, "refused")),
        (webhook("hs_email_optout_7", "false"), dict.fromkeys(CODES, "silent")),
        (webhook("hs_email_optout", "true", "object.propertyChange"), {"all": "refused"}),
        (webhook("", "", "contact.privacyDeletion"), {"all": "refused"}),
    ],
)
def test_webhook_of_an_opt_out_refuses_and_never_grants(event: Any, expected: dict[str, str]) -> None:
    signals = hubspot.read([event])
    assert answers(signals) == [expected]
    assert signals[0].values["objectId"] == "123" and signals[0].values["eventId"] == "100"
    assert signals[0].values["occurredAt"] == signals[0].values["effectiveDate"] == "2023-01-01T00:00:00.000+00:00"


@pytest.mark.parametrize(
    "document",
    [
        *([webhook("firstname", "Amy")], [webhook("", "", "contact.creation")], [], {"results": []}),
        {"results": [{"id": "7", "name": "News", "isActive": True, "isDefault": False}]},
        {
            "recipient": "a@example.com",
            "changes": [{"change": "SUBSCRIBED", "changeType": "PORTAL_BOUNCE", "subscriptionId": 7}],
        },
    ],
)
def test_what_is_of_something_else_says_nothing(document: Any) -> None:
    assert hubspot.read(document) == []


def test_wide_status_refuses_all_and_never_grants() -> None:
    assert answers(hubspot.read(WIDE)) == [{"all": "refused"}]
    assert answers(hubspot.read({**WIDE, "status": "NOT_SPECIFIED"})) == [{"all": "silent"}]
    assert answers(hubspot.read({**WIDE, "status": "SUBSCRIBED"})) == [{"all": "silent"}]


@pytest.mark.parametrize(
    "document",
    [
        *({}, None, "SUBSCRIBED", {"recipient": "a@example.com"}, {"subscriptionStatuses": "SUBSCRIBED"}),
        *(latest(subscriptionId=None), latest(subscriptionId=" 7"), latest(id="8"), latest(subscriptionId=True)),
        {"results": [latest()] * 1_001},
        {"results": [latest(), {"status": "UNSUBSCRIBED", "subscriberIdString": "amy@example.com"}]},
    ],
)
def test_what_does_not_add_up_is_malformed(document: Any) -> None:
    signals = hubspot.read(document)
    assert len(signals) == 1 and signals[0].problem and not signals[0].answers


def test_twice_told_subscription_is_refused() -> None:
    assert granted(hubspot.read({"results": [latest(), latest("UNSUBSCRIBED")]})) == set()


def plainly_granted(document: Any) -> set[str]:
    """The second reader, from HubSpot's pages: the codes that statuses grant, less those that any refuses."""
    if isinstance(document, list):
        return {code for one in document if isinstance(one, dict) for code in plainly_granted(one)}
    if not isinstance(document, dict):
        return set()
    inner = document["timeline"] if isinstance(document.get("timeline"), list) else []
    others = {code for one in inner if isinstance(one, dict) for code in plainly_granted({**one, "timeline": 0})}
    places = ("subscriptionStatuses", "results", "statuses", "changes")
    levels: list[list[Any]] = [[document]]
    for _ in range(2):
        lists = [row[key] for row in levels[-1] if type(row) is dict for key in places if key in row]
        levels.append([row for lot in lists if type(lot) is list for row in lot])
    rows = [row for level in levels for row in level]
    if any(type(row) is not dict for row in rows):
        return others
    yes: set[str] = set()
    no: set[str] = set()
    for row in rows:
        if "subscriptionType" in row or "wideStatusType" in row or row.get("changeType") == "PORTAL_STATUS":
            continue
        is_change = row.get("changeType") == "SUBSCRIPTION_STATUS"
        if not is_change and ("changeType" in row or ("isActive" in row and "status" not in row)):
            continue
        keys = [row[key] for key in ("subscriptionId", "id") if row.get(key) is not None]
        is_named = any(key in row for key in ("subscriptionId", "id")) or is_change
        if not is_named and (row is document or any(type(row.get(key)) is list for key in places)):
            continue
        if not keys or len({str(key) for key in keys}) > 1 or not all(map(is_id, keys)):
            return others
        word = row.get("change") if is_change else row.get("status")
        basis = row.get("legalBasis")
        mine = {"subscribed."} | ({WORDS_OF[basis]} if isinstance(basis, str) and basis in WORDS_OF else set())
        for prefix in {*WORDS_OF.values(), "subscribed."}:
            (yes if word == "SUBSCRIBED" and prefix in mine else no).add(f"{prefix}{keys[0]}")
    return others | (yes - no)


def is_id(key: Any) -> bool:
    if type(key) is int:
        return abs(key) < 2**63
    return type(key) is str and key == key.strip() and key.isprintable() and 0 < len(key) <= 1_024 and "*" not in key


def denies(path: tuple[Any, ...], part: Any) -> bool:
    is_word = path[-1] in ("status", "change") and part != "SUBSCRIBED"
    return is_word or path[-1] in ("wideStatusType", "subscriptionType", "changeType", "legalBasis")


@RULES
@given(documents(GOLDENS, WORDS))
def test_damaged_documents_grant_only_what_is_plain(document: Any) -> None:
    check_form(hubspot.read, document)
    assert granted(hubspot.read(document)) == plainly_granted(document)


@RULES
@given(documents(GOLDENS, WORDS))
def test_removing_a_part_never_grants(document: Any) -> None:
    check_removal(hubspot.read, document, denies)


@pytest.mark.parametrize("at", range(len(GOLDENS)))
def test_removing_the_basis_never_grants(at: int) -> None:
    check_removal(
        hubspot.read, GOLDENS[at], lambda path, part: path[-1] in ("status", "change") and part != "SUBSCRIBED"
    )


def test_properties_catch_a_reader_that_takes_any_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubspot, "GROUNDS", dict.fromkeys(hubspot.GROUNDS, ""))

    def check(document: Any) -> None:
        assert granted(hubspot.read(document)) == plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))
