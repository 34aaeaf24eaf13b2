"""TrustArc: only an asserted decision and an active consent grant, and the required category is no consent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from orchestration.consent.signals import trustarc
from orchestration.consent.signals.document import asked, moment
from tests.unit.signals.objects import RULES, answers, check_form, check_removal, documents, fails, granted, values
from tests.unit.signals.plain_onetrust import get, is_id

MS = 1672531200000


def decision(chosen: Any, source: Any = "asserted", **more: Any) -> dict[str, Any]:
    return {"consentDecision": chosen, "source": source, "domain": "example.com", **more}


def field(value: Any = "OPT_IN", name: Any = "f1", status: Any = "ACTIVE", **more: Any) -> dict[str, Any]:
    return {
        "consent": {
            "id": "c1",
            "status": status,
            "createdDate": MS,
            "consentForm": {"id": "form1", "name": "Newsletter"},
        },
        "dataField": {"id": name, "name": "Newsletter"},
        "formValues": [{"display": "Yes", "value": value}],
        **more,
    }


def subject(*fields: Any, **more: Any) -> dict[str, Any]:
    identifier = {
        "identifier": {"id": "i1", "name": "Email"},
        "formValues": [{"display": "", "value": "amy@example.com"}],
    }
    groups = [{"id": "g1", "identifierValues": [identifier]}]
    return {"id": "s1", "createdDate": MS, "dataFieldValues": list(fields), "dataSubjectIdentifiers": groups, **more}


GOLDENS: list[Any] = [
    decision([1, 2], userId="u1", timestamp="2023-01-01T00:00:00Z"),
    decision([1, 2, 3], "implied"),
    subject(field(), field("OPT_OUT", "f2")),
    {"content": [subject(field(True), status="ACTIVE"), subject(field(status="EXPIRED"))], "number": 0},
]
WORDS: list[Any] = [
    *("asserted", "implied", "ACTIVE", "EXPIRED", "PENDING", "OPT_IN", "Opt In", "OPT_OUT", True, False, [1, 2], 2, 3),
    *(field(), field("OPT_OUT"), {"display": "Yes", "value": "OPT_IN"}),
]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (decision([1, 2]), {"required.1", "category.2"}),
        (decision([1]), {"required.1"}),
        (decision([]), set()),
        (decision([2, 3, 2]), {"category.2", "category.3"}),
        (decision([1, 2, 3], "implied"), set()),
        (decision([1, 2, 3], None), set()),
        (decision([2], "ASSERTED"), set()),
        (decision([2], True), set()),
        (decision(["2", 2.0, True, None, 0, -1, 100, [2]]), set()),
    ],
)
def test_only_an_asserted_decision_grants_categories(document: Any, expected: set[str]) -> None:
    (signal,) = trustarc.read(document)
    assert granted([signal]) == expected and signal.problem is None
    assert asked(signal, "category.1", trustarc.PARTIAL) == "refused"
    assert asked(signal, "category.9", trustarc.PARTIAL) == "refused"


@pytest.mark.parametrize("value", [True, "OPT_IN", "opt_in", "Opt In", "Opt-In"])
def test_opt_in_of_an_active_consent_grants(value: Any) -> None:
    (signal,) = trustarc.read(subject(field(value)))
    assert signal.answers == {"f1": "granted"} and asked(signal, "f2", trustarc.PARTIAL) is None


@pytest.mark.parametrize("value", ["OPT_OUT", "true", "yes", "Yes", 1, False, None, "", " OPT_IN", ["OPT_IN"], {}])
def test_every_other_value_refuses(value: Any) -> None:
    assert answers(trustarc.read(subject(field(value)))) == [{"f1": "refused"}]


@pytest.mark.parametrize("status", ["EXPIRED", "PENDING", "active", "", None, True, ["ACTIVE"]])
def test_consent_that_is_not_active_refuses(status: Any) -> None:
    assert answers(trustarc.read(subject(field(status=status)))) == [{"f1": "refused"}]
    if status is not None:
        assert granted(trustarc.read(subject(field(), status=status))) == set()


def test_field_needs_every_value_to_be_an_opt_in() -> None:
    yes, no = {"value": "OPT_IN"}, {"value": "OPT_OUT"}
    for given_values, expected in (
        ([yes, yes], {"f1"}),
        ([yes, no], set()),
        ([], set()),
        (None, set()),
        ([yes] * 101, set()),
    ):
        assert granted(trustarc.read(subject(field(formValues=given_values)))) == expected


def test_later_consent_of_a_field_is_a_signal_of_its_own() -> None:
    later = field("OPT_OUT")
    later["consent"] = {**later["consent"], "id": "c2", "createdDate": MS + 1}
    signals = trustarc.read(subject(field(), later))
    assert answers(signals) == [{"f1": "granted"}, {"f1": "refused"}]
    same = field("OPT_OUT")
    assert granted(trustarc.read(subject(field(), same))) == set()
    del later["consent"]["createdDate"]
    assert granted(trustarc.read(subject(field(), later))) == set()


def test_values_tell_whom_when_and_which_form() -> None:
    assert values(trustarc.read(GOLDENS[2])) == [
        {
            "id": "s1",
            "createdDate": "2023-01-01T00:00:00.000+00:00",
            "identifier.Email": "amy@example.com",
            "consent.id": "c1",
            "consent.createdDate": "2023-01-01T00:00:00.000+00:00",
            "consent.consentForm.id": "form1",
            "effectiveDate": "2023-01-01T00:00:00.000+00:00",
        }
    ]
    assert values(trustarc.read(GOLDENS[0]))[0]["userId"] == "u1"


@pytest.mark.parametrize(
    "document",
    [
        *({}, None, "ACTIVE", decision(3), decision("1,2,3"), decision(None), decision([2] * 100)),
        *({"dataFieldValues": "OPT_IN"}, subject(field("OPT_OUT", None)), subject(None), subject(*[field()] * 1_001)),
    ],
)
def test_what_does_not_add_up_is_malformed(document: Any) -> None:
    signals = trustarc.read(document)
    assert len(signals) == 1 and signals[0].problem and not signals[0].answers


def test_no_fields_answer_nothing() -> None:
    assert [(dict(signal.answers), signal.problem) for signal in trustarc.read(subject())] == [({}, None)]


def plainly_granted(document: Any) -> set[str]:
    """The second reader: categories of an asserted decision, and fields that an active consent opts into.

    Of a field that is told more than once, only a later consent of another date keeps its own answer; so a grant here
    is one that no refusal of the same or of an unknown date takes back."""
    if isinstance(document, list):
        return {code for one in document if isinstance(one, dict) for code in plainly_granted(one)}
    if not isinstance(document, dict):
        return set()
    page = document["content"] if isinstance(document.get("content"), list) else []
    found = {code for one in page if isinstance(one, dict) for code in plainly_granted({**one, "content": 0})}
    chosen = document.get("consentDecision")
    if type(chosen) is list and document.get("source") == "asserted" and len(chosen) < 100:
        numbers = {number for number in chosen if type(number) is int and 0 < number < 100}
        found |= {"required.1" if number == 1 else f"category.{number}" for number in numbers}
    rows = document.get("dataFieldValues")
    said: list[tuple[Any, bool, str | None]] = []
    for row in rows if type(rows) is list else []:
        words = get(row, "formValues")
        opts = [get(word, "value") for word in words] if type(words) is list else []
        states = [get(row, "consent", "status"), document.get("status")]
        is_active = "ACTIVE" in [s for s in states if type(s) is str] and all(s in (None, "ACTIVE") for s in states)
        is_in = bool(opts) and len(opts) <= 100 and all(opt is True or opt in trustarc.OPT_IN for opt in opts)
        key, date = get(row, "dataField", "id"), moment(get(row, "consent", "createdDate"), "milliseconds")
        if not is_id(key):
            if not (is_active and is_in):
                return found
            continue
        said.append((str(key), is_active and is_in, date))
    denied = [(key, date) for key, is_in, date in said if not is_in]
    for key, is_in, date in said:
        clashes = [when for other, when in denied if other == key and (when == date or when is None or date is None)]
        if is_in and not clashes:
            found.add(key)
    return found


def denies(path: tuple[Any, ...], part: Any) -> bool:
    return (path[-1] == "status" and part != "ACTIVE") or (path[-1] == "value" and part not in (True, *trustarc.OPT_IN))


@RULES
@given(documents(GOLDENS, WORDS))
def test_damaged_documents_grant_only_what_is_plain(document: Any) -> None:
    check_form(trustarc.read, document)
    assert granted(trustarc.read(document)) == plainly_granted(document)


@RULES
@given(documents(GOLDENS, WORDS))
def test_removing_a_part_never_grants(document: Any) -> None:
    check_removal(trustarc.read, document, denies)


def test_properties_catch_a_reader_that_takes_an_implied_decision() -> None:
    def check(document: Any) -> None:
        asserted = {**document, "source": "asserted"} if isinstance(document, dict) else document
        assert granted(trustarc.read(asserted)) <= plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))


def test_properties_catch_a_reader_that_ignores_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trustarc, "any", lambda parts: True, raising=False)
    monkeypatch.setattr(trustarc, "all", any, raising=False)

    def check(document: Any) -> None:
        assert granted(trustarc.read(document)) == plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))
