"""Google Consent Mode v2: only the three words for granted grant, and a site's default is nobody's choice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from orchestration.consent.signals import consent_mode
from tests.unit.signals.objects import RULES, check_form, check_removal, documents, fails, granted, values

ADS, USER, PERSON, STATS = "ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"
ALL = {ADS, USER, PERSON, STATS, "functionality_storage", "personalization_storage", "security_storage"}
GOLDENS: list[Any] = [
    {ADS: "granted", USER: "denied", PERSON: "granted", STATS: "denied", "functionality_storage": "granted"},
    ["consent", "update", {ADS: "granted", STATS: "granted"}],
    ["consent", "default", {ADS: "granted", STATS: "granted", "wait_for_update": 500}],
    {
        "client_id": "c1",
        "user_id": "u1",
        "timestamp_micros": 1672531200000000,
        "consent": {USER: "GRANTED", PERSON: "DENIED"},
        "events": [],
    },
    {"consent": {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_STATUS_UNSPECIFIED"}},
    [{ADS: "granted"}, {STATS: "granted", ADS: "denied"}],
]
WORDS: list[Any] = [
    *("granted", "denied", "GRANTED", "DENIED", "CONSENT_GRANTED", "CONSENT_DENIED", "UNSPECIFIED", "UNKNOWN"),
    *("CONSENT_STATUS_UNSPECIFIED", "Granted", "consent", "update", "default", True, {ADS: "granted"}),
    {ADS: "denied", USER: "GRANTED"},
]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (GOLDENS[0], {ADS, PERSON, "functionality_storage"}),
        (GOLDENS[1], {ADS, STATS}),
        (GOLDENS[2], set()),
        (GOLDENS[3], {USER}),
        (GOLDENS[4], {USER}),
        (dict.fromkeys(ALL, "granted"), ALL),
        ({ADS: "GRANTED"}, {ADS}),
        ({ADS: "UNSPECIFIED"}, set()),
        ({ADS: "UNKNOWN"}, set()),
        ({ADS: "Granted"}, set()),
        ({ADS: " granted"}, set()),
        ({ADS: True}, set()),
        ({ADS: None}, set()),
        ({ADS: ["granted"]}, set()),
        ({"adUserData": "GRANTED", USER: "DENIED"}, set()),
        ({USER: "granted", "consent": {USER: "denied"}}, set()),
        ({"AD_STORAGE": "granted"}, set()),
    ],
)
def test_only_the_words_for_granted_grant(document: Any, expected: set[str]) -> None:
    signals = consent_mode.read(document)
    assert len(signals) == 1 and signals[0].problem is None
    assert granted(signals) == expected
    assert set(signals[0].answers) in ({*ALL}, set())


def test_types_that_an_object_does_not_name_are_refused() -> None:
    assert consent_mode.read({ADS: "granted"})[0].answers == dict.fromkeys(ALL, "refused") | {ADS: "granted"}


@pytest.mark.parametrize("document", [{}, {"consent": {}}, {"client_id": "c1"}, {"consent": None}])
def test_absent_object_answers_nothing(document: Any) -> None:
    assert [(dict(signal.answers), signal.problem) for signal in consent_mode.read(document)] == [({}, None)]


@pytest.mark.parametrize(
    "document",
    [
        *(None, "granted", 1, {"consent": "granted"}, {"consent": True, ADS: "granted"}, ["consent"], ["granted"]),
        *(["consent", "grant", {ADS: "granted"}], ["consent", "update", "granted"], ["update", {ADS: "granted"}]),
    ],
)
def test_what_is_no_object_of_types_is_malformed(document: Any) -> None:
    signals = consent_mode.read(document)
    assert signals and all(signal.problem and not signal.answers for signal in signals)


def test_values_tell_whom_and_when() -> None:
    assert values(consent_mode.read(GOLDENS[3])) == [
        {"client_id": "c1", "user_id": "u1", "timestamp_micros": "2023-01-01T00:00:00.000000+00:00"}
    ]
    assert values(consent_mode.read(GOLDENS[1])) == [{"command": "update"}]


def plainly_granted(document: Any) -> set[str]:
    """The second reader: from Google's pages, as sets of (type, word)."""
    if isinstance(document, list) and not any(isinstance(part, str) for part in document):
        return {name for part in document for name in plainly_granted(part) if isinstance(part, dict)}
    if isinstance(document, list):
        is_update = document[:2] == ["consent", "update"] and len(document) == 3 and isinstance(document[2], dict)
        sources = [document[2]] if is_update else []
    else:
        sources = [document, document.get("consent") or {}] if isinstance(document, dict) else []
        if not all(isinstance(source, dict) for source in sources):
            sources = []
        if sources and document.get("consent") is not None and not isinstance(document["consent"], dict):
            sources = []
    said = [(key, repr(word)) for source in sources for key, word in source.items()]
    names = {"adUserData": USER, "adPersonalization": PERSON}
    yes = {names.get(key, key) for key, word in said if word in ("'granted'", "'GRANTED'", "'CONSENT_GRANTED'")}
    no = {names.get(key, key) for key, word in said if word not in ("'granted'", "'GRANTED'", "'CONSENT_GRANTED'")}
    return (yes - no) & ALL


def denies(path: tuple[Any, ...], part: Any) -> bool:
    return path[-1] in (*ALL, "adUserData", "adPersonalization") and part not in (
        "granted",
        "GRANTED",
        "CONSENT_GRANTED",
    )


@RULES
@given(documents(GOLDENS, WORDS))
def test_damaged_objects_grant_only_what_is_plain(document: Any) -> None:
    check_form(consent_mode.read, document)
    assert granted(consent_mode.read(document)) == plainly_granted(document)


@RULES
@given(documents(GOLDENS, WORDS))
def test_removing_a_part_never_grants(document: Any) -> None:
    check_removal(consent_mode.read, document, denies)


def test_properties_catch_a_reader_that_takes_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_mode, "GRANTED", (*consent_mode.GRANTED, "Granted"))

    def check(document: Any) -> None:
        assert granted(consent_mode.read(document)) == plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))


def test_properties_catch_a_reader_in_which_one_word_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent_mode, "all", any, raising=False)

    def check(document: Any) -> None:
        assert granted(consent_mode.read(document)) == plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))
