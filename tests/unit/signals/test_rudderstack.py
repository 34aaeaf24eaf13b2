"""RudderStack's consent object: allowed grants, denied wins, and no list of the denied grants nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from orchestration.consent.signals import rudderstack
from orchestration.consent.signals.document import asked
from tests.unit.signals.objects import RULES, answers, check_form, check_removal, documents, fails, granted, values


def stamped(**consent: Any) -> dict[str, Any]:
    return {"type": "track", "userId": "u1", "event": "Product Purchased", "context": {"consentManagement": consent}}


GOLDENS: list[Any] = [
    stamped(allowedConsentIds=["C1", "C2"], deniedConsentIds=["C3"], provider="oneTrust", resolutionStrategy="and"),
    stamped(allowedConsentIds=["C1", "C2"], deniedConsentIds=["C2"], provider="custom", resolutionStrategy="or"),
    stamped(allowedConsentIds=[], deniedConsentIds=[]),
    {"batch": [stamped(allowedConsentIds=["C1"], deniedConsentIds=[]), {"userId": "u2"}]},
]
WORDS: list[Any] = ["C1", "C2", "C3", ["C1"], ["C2", "C3"], {"allowedConsentIds": ["C1"], "deniedConsentIds": []}]


@pytest.mark.parametrize(
    ("consent", "expected"),
    [
        ({"allowedConsentIds": ["C1"], "deniedConsentIds": ["C2"]}, {"C1": "granted", "C2": "refused"}),
        ({"allowedConsentIds": ["C1", "C2"], "deniedConsentIds": ["C2"]}, {"C1": "granted", "C2": "refused"}),
        ({"allowedConsentIds": [1, 2], "deniedConsentIds": ["2"]}, {"1": "granted", "2": "refused"}),
        ({"allowedConsentIds": [True, None, {}, " C1", "*"], "deniedConsentIds": []}, {}),
        ({"allowedConsentIds": [], "deniedConsentIds": []}, {}),
        ({"deniedConsentIds": ["C2"]}, {"C2": "refused"}),
        ({"allowedConsentIds": None, "deniedConsentIds": ["C2"]}, {"C2": "refused"}),
    ],
)
def test_allowed_grants_and_denied_wins(consent: Any, expected: dict[str, str]) -> None:
    signals = rudderstack.read(stamped(**consent))
    assert answers(signals) == [expected] and signals[0].problem is None
    assert asked(signals[0], "C9", False) == "refused"


@pytest.mark.parametrize(
    "consent",
    [
        {"allowedConsentIds": ["C1"]},
        {"allowedConsentIds": ["C1"], "deniedConsentIds": None},
        {"allowedConsentIds": ["C1"], "deniedConsentIds": "C2"},
        {"allowedConsentIds": "C1", "deniedConsentIds": []},
        {"allowedConsentIds": {"C1": True}, "deniedConsentIds": []},
        {"allowedConsentIds": ["C1"], "deniedConsentIds": [" C1"]},
        {"allowedConsentIds": ["C1"], "deniedConsentIds": [None]},
        {"allowedConsentIds": ["C1"] * 1_001, "deniedConsentIds": []},
        {},
    ],
)
def test_lists_that_do_not_add_up_are_malformed_but_tell_their_subject(consent: Any) -> None:
    (signal,) = rudderstack.read(stamped(**consent))
    assert signal.problem and not signal.answers and signal.values["userId"] == "u1"


@pytest.mark.parametrize("event", [{"userId": "u1"}, {"context": {}}, {"context": {"consentManagement": None}}])
def test_absent_consent_object_answers_nothing(event: Any) -> None:
    assert [(dict(signal.answers), signal.problem) for signal in rudderstack.read(event)] == [({}, None)]


def test_values_name_the_provider() -> None:
    assert values(rudderstack.read(GOLDENS[0])) == [
        {
            "type": "track",
            "userId": "u1",
            "event": "Product Purchased",
            "context.consentManagement.provider": "oneTrust",
            "context.consentManagement.resolutionStrategy": "and",
        }
    ]


def plainly_granted(document: Any) -> set[str]:
    """The second reader: allowed without denied, by plain set arithmetic on the names as text."""
    if isinstance(document, list):
        return {name for event in document if isinstance(event, dict) for name in plainly_granted(event)}
    if not isinstance(document, dict):
        return set()
    inner = document["batch"] if isinstance(document.get("batch"), list) else []
    found = {name for event in inner if isinstance(event, dict) for name in plainly_granted({**event, "batch": 0})}
    try:
        consent = document["context"]["consentManagement"]
        allowed, denied = consent.get("allowedConsentIds") or [], consent["deniedConsentIds"]
    except (AttributeError, KeyError, TypeError, IndexError):
        return found
    if type(allowed) is not list or type(denied) is not list or not all(is_name(name) for name in denied):
        return found
    return found | {str(name) for name in allowed if is_name(name)} - {str(name) for name in denied}


def is_name(name: Any) -> bool:
    if type(name) is int:
        return abs(name) < 2**63
    is_text = type(name) is str and name == name.strip() and name.isprintable()
    return is_text and 0 < len(name) <= 1_024 and "*" not in name


def denies(path: tuple[Any, ...], part: Any) -> bool:
    return "deniedConsentIds" in path


@RULES
@given(documents(GOLDENS, WORDS))
def test_damaged_events_grant_only_what_is_plain(document: Any) -> None:
    check_form(rudderstack.read, document)
    assert granted(rudderstack.read(document)) == plainly_granted(document)


@RULES
@given(documents(GOLDENS, WORDS))
def test_removing_a_part_never_grants(document: Any) -> None:
    check_removal(rudderstack.read, document, denies)


def test_properties_catch_a_reader_that_does_not_miss_the_denied() -> None:
    def read(document: Any) -> set[str]:
        consent = document["context"]["consentManagement"]
        return {name for name in consent["allowedConsentIds"] if name not in (consent.get("deniedConsentIds") or [])}

    def check(document: Any) -> None:
        try:
            lax = read(document)
        except (AttributeError, KeyError, TypeError, IndexError):
            return
        assert {str(name) for name in lax if is_name(name)} <= plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))
