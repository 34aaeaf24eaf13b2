"""Segment's consent object: only `true` grants; where Segment would deliver without one, nothing is granted here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from orchestration.consent.signals import segment
from orchestration.consent.signals.document import asked
from tests.unit.signals.objects import (
    FIXTURES,
    RULES,
    answers,
    check_form,
    check_removal,
    documents,
    fails,
    granted,
    values,
)

VECTORS = FIXTURES / "segment_consent"
needs_fixtures = pytest.mark.skipif(not VECTORS.is_dir(), reason="../shared/fixtures/segment_consent is absent")


def stamped(preferences: Any, **event: Any) -> dict[str, Any]:
    return {"type": "track", "userId": "u1", **event, "context": {"consent": {"categoryPreferences": preferences}}}


GOLDENS: list[Any] = [
    stamped({"Advertising": True, "Analytics": False, "Functional": True}, event="Segment Consent Preference Updated"),
    stamped({}),
    {"batch": [stamped({"A": True}), stamped({"A": False, "B": True})], "sentAt": "2023-01-01T00:00:00Z"},
    {"type": "track", "anonymousId": "a1", "context": {"page": {}}},
]
WORDS: list[Any] = [True, False, {"A": True}, {"A": False}, {"A": "true"}, ["A"], {"categoryPreferences": {"A": True}}]


@pytest.mark.parametrize(
    ("preferences", "expected"),
    [
        ({"A": True}, {"A": "granted"}),
        ({"A": True, "B": False}, {"A": "granted", "B": "refused"}),
        ({"A": "true"}, {"A": "refused"}),
        ({"A": 1}, {"A": "refused"}),
        ({"A": None}, {"A": "refused"}),
        ({"A": {}}, {"A": "refused"}),
        ({"A": ["true"], "B": True}, {"A": "refused", "B": "granted"}),
        ({" A": True}, {}),
        ({"*": True}, {}),
        ({}, {}),
    ],
)
def test_only_true_grants(preferences: Any, expected: dict[str, str]) -> None:
    signals = segment.read(stamped(preferences))
    assert answers(signals) == [expected] and signals[0].problem is None


@pytest.mark.parametrize("event", [{"userId": "u1"}, {"userId": "u1", "context": {}}, {"context": {"consent": None}}])
def test_absent_consent_object_answers_nothing(event: Any) -> None:
    signals = segment.read(event)
    assert answers(signals) == [{}] and signals[0].problem is None
    assert asked(signals[0], "Advertising", False) == "refused"


@pytest.mark.parametrize("preferences", [["OOPS"], None, "Advertising", True, 1, {"\x00": False}, {" A": False}])
def test_preferences_that_do_not_add_up_are_malformed_but_tell_their_subject(preferences: Any) -> None:
    (signal,) = segment.read(stamped(preferences))
    assert signal.problem and not signal.answers and signal.values["userId"] == "u1"


def test_values_of_a_preference_update() -> None:
    event = stamped({"A": True}, anonymousId="a1", messageId="m1", timestamp="2023-01-01T00:00:00.000Z", event="E")
    event["context"]["traits"] = {"email": "amy@example.com", "phone": 5550100}
    assert values(segment.read(event)) == [
        {
            "type": "track",
            "event": "E",
            "userId": "u1",
            "anonymousId": "a1",
            "messageId": "m1",
            "timestamp": "2023-01-01T00:00:00.000Z",
            "context.traits.email": "amy@example.com",
            "context.traits.phone": "5550100",
        }
    ]


def test_batch_gives_a_signal_of_each_event() -> None:
    assert answers(segment.read(GOLDENS[2])) == [{"A": "granted"}, {"A": "refused", "B": "granted"}]


@needs_fixtures
def test_published_events_are_read_as_expected() -> None:
    events = json.loads((VECTORS / "segment_consent_events.json").read_text("utf-8"))
    stampings = [case["event"] for case in events if "event" in case]
    assert answers(segment.read(stampings)) == [
        {"C0001": "granted", "C0002": "refused"},
        {"Something": "granted", "SomethingElse": "refused"},
    ]
    for case in events:
        if "expected_categoryPreferences" in case:
            wanted = {name for name, choice in case["expected_categoryPreferences"].items() if choice}
            assert granted(segment.read(stamped(case["expected_categoryPreferences"]))) == wanted
        if "event_categories" in case:
            assert segment.read(stamped(case["event_categories"]))[0].problem
    update = json.loads((VECTORS / "segment_consent_preference_updated.json").read_text("utf-8"))
    assert granted(segment.read(update)) == {"Advertising", "Functional"}
    assert values(segment.read(update))[0]["userId"] == "u123"


@needs_fixtures
def test_published_destination_decisions_follow_except_where_segment_fails_open() -> None:
    """A destination gets an event only if each of its categories is granted (and its integration is not off)."""
    table = json.loads((VECTORS / "segment_docs_decision_table.json").read_text("utf-8"))
    gating = json.loads((VECTORS / "segment_ajs_destination_gating.json").read_text("utf-8"))
    for row in table:
        categories: dict[str, list[str]] = {}
        for category, destinations in row["category_to_destinations"].items():
            for destination in destinations:
                categories.setdefault(destination, []).append(category)
        preferences = row["categoryPreferences"]
        (signal,) = segment.read(stamped(preferences) if preferences is not None else {"userId": "u1"})
        off = {name for name, is_on in (row["integrations"] or {}).items() if not is_on}
        allowed = {
            name for name, needed in categories.items() if {asked(signal, c, False) for c in needed} == {"granted"}
        }
        assert allowed - off == (set(row["delivered"]) if preferences is not None else set())
    for row in gating:
        (signal,) = segment.read(stamped(row["categoryPreferences"]))
        needs = row["destination_categories"]
        enabled = {name for name, needed in needs.items() if all(asked(signal, c, False) == "granted" for c in needed)}
        assert enabled == set(row["expected_enabled"])


def plainly_granted(document: Any) -> set[str]:
    """The second reader, from Segment's pages: walks to `context.consent.categoryPreferences` step by step."""
    if isinstance(document, list):
        return {name for event in document if isinstance(event, dict) for name in plainly_granted(event)}
    if not isinstance(document, dict):
        return set()
    inner = document["batch"] if isinstance(document.get("batch"), list) else []
    found = {name for event in inner if isinstance(event, dict) for name in plainly_granted({**event, "batch": 0})}
    try:
        choices = dict(document["context"]["consent"]["categoryPreferences"].items())
    except (AttributeError, KeyError, TypeError, IndexError):
        return found
    readable = {name for name in choices if name == name.strip() and name.isprintable() and 0 < len(name) <= 1_024}
    if any(choices[name] is not True for name in choices if name not in readable or "*" in name):
        return found
    return found | {name for name in readable if choices[name] is True and "*" not in name}


def denies(path: tuple[Any, ...], part: Any) -> bool:
    return len(path) > 1 and path[-2] == "categoryPreferences" and part is not True


@RULES
@given(documents(GOLDENS, WORDS))
def test_damaged_events_grant_only_what_is_plain(document: Any) -> None:
    check_form(segment.read, document)
    assert granted(segment.read(document)) == plainly_granted(document)


@RULES
@given(documents(GOLDENS, WORDS))
def test_removing_a_part_never_grants(document: Any) -> None:
    check_removal(segment.read, document, denies)


def test_properties_catch_a_reader_that_takes_whatever_is_not_false() -> None:
    def read(document: Any) -> set[str]:
        preferences = document["context"]["consent"]["categoryPreferences"]
        return {name for name, choice in preferences.items() if choice}

    def check(document: Any) -> None:
        try:
            lax = read(document)
        except (AttributeError, KeyError, TypeError, IndexError):
            return
        assert lax <= plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))
