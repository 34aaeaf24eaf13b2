"""mParticle's consent state: `consented: true` grants a GDPR purpose; of CCPA it is the opt-out, and never a grant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from orchestration.consent.signals import mparticle
from orchestration.consent.signals.document import asked
from tests.unit.signals.objects import RULES, answers, check_form, check_removal, documents, fails, granted, values

MS = 1672531200000


def given_at(consented: Any, at: Any = MS, **rest: Any) -> dict[str, Any]:
    return {"consented": consented, "timestamp_unixtime_ms": at, **rest}


def batch(**state: Any) -> dict[str, Any]:
    return {"mpid": 42, "user_identities": {"email": "amy@example.com"}, "consent_state": state}


GOLDENS: list[Any] = [
    batch(
        gdpr={
            "analytics": given_at(True, document="v3", location="17 Cherry Tree Lane", hardware_id="idfa:1"),
            "ads": given_at(False),
        },
        ccpa={"data_sale_opt_out": given_at(True)},
    ),
    batch(gdpr={"analytics": given_at(True), "ads": given_at(True, MS + 1)}),
    batch(ccpa={"data_sale_opt_out": given_at(False)}),
    {"mpid": 42},
]
WORDS: list[Any] = [True, False, None, given_at(True), given_at(False), {"analytics": given_at(True)}, MS, MS + 5]


def test_one_moment_and_document_is_one_signal() -> None:
    signals = mparticle.read(GOLDENS[0])
    assert answers(signals) == [
        {"gdpr.analytics": "granted"},
        {"gdpr.ads": "refused", "ccpa.data_sale_opt_out": "refused"},
        {"gdpr.*": "refused", "gdpr.ads": "silent", "gdpr.analytics": "silent"},
    ]
    assert values(signals)[0] == {
        "mpid": "42",
        "user_identities.email": "amy@example.com",
        "purpose.timestamp_unixtime_ms": "2023-01-01T00:00:00.000+00:00",
        "effectiveDate": "2023-01-01T00:00:00.000+00:00",
        "purpose.document": "v3",
        "purpose.location": "17 Cherry Tree Lane",
        "purpose.hardware_id": "idfa:1",
    }


def test_purposes_with_times_of_their_own_are_signals_of_their_own() -> None:
    *signals, rest = mparticle.read(GOLDENS[1])
    assert asked(rest, "gdpr.ads", mparticle.PARTIAL) == "silent" and "effectiveDate" not in rest.values
    assert answers(signals) == [{"gdpr.analytics": "granted"}, {"gdpr.ads": "granted"}]
    assert [value["purpose.timestamp_unixtime_ms"][-12:] for value in values(signals)] == [
        "00.000+00:00",
        "00.001+00:00",
    ]
    assert mparticle.PARTIAL


@pytest.mark.parametrize(
    ("consented", "gdpr", "ccpa"),
    [
        (True, "granted", "refused"),
        (False, "refused", "silent"),
        ("true", "refused", "refused"),
        ("false", "refused", "refused"),
        (1, "refused", "refused"),
        (0, "refused", "refused"),
        (None, "refused", "refused"),
        ([True], "refused", "refused"),
    ],
)
def test_consented_means_the_opposite_in_ccpa(consented: Any, gdpr: str, ccpa: str) -> None:
    signals = mparticle.read(batch(gdpr={"p": given_at(consented)}, ccpa={"data_sale_opt_out": given_at(consented)}))
    assert answers(signals)[0] == {"gdpr.p": gdpr, "ccpa.data_sale_opt_out": ccpa}


@pytest.mark.parametrize("purpose", [None, True, "granted", [], {}, {"timestamp_unixtime_ms": MS}])
def test_purpose_that_is_not_answered_is_refused(purpose: Any) -> None:
    assert granted(mparticle.read(batch(gdpr={"p": purpose}))) == set()
    assert mparticle.read(batch(gdpr={"p": purpose}))[0].answers == {"gdpr.p": "refused"}


@pytest.mark.parametrize("document", [{"mpid": 1}, {"consent_state": None}])
def test_absent_state_refuses_every_code(document: Any) -> None:
    (signal,) = mparticle.read({**document, "timestamp_unixtime_ms": MS})
    assert signal.answers == {"*": "refused"} and signal.problem is None
    assert signal.values["effectiveDate"] == "2023-01-01T00:00:00.000+00:00"
    assert asked(signal, "ccpa.data_sale_opt_out", mparticle.PARTIAL) == "refused"


@pytest.mark.parametrize("state", [{}, {"gdpr": None}, {"gdpr": {}}, {"gdpr": {"analytics": given_at(True)}}])
def test_purpose_that_is_no_longer_in_the_state_is_refused_as_of_the_batch(state: Any) -> None:
    last = mparticle.read({**batch(**state), "timestamp_unixtime_ms": MS + 7})[-1]
    assert asked(last, "gdpr.ads", mparticle.PARTIAL) == "refused"
    assert asked(last, "gdpr.analytics", mparticle.PARTIAL) == ("silent" if state.get("gdpr") else "refused")
    assert asked(last, "ccpa.data_sale_opt_out", mparticle.PARTIAL) is None
    assert last.values["effectiveDate"] == "2023-01-01T00:00:00.007+00:00"


@pytest.mark.parametrize(
    "document",
    [
        {"mpid": 42, "consent_state": "granted"},
        batch(gdpr=[given_at(True)]),
        batch(gdpr={"ok": given_at(True)}, ccpa=True),
        batch(gdpr={"ok": given_at(True), " p": given_at(False)}),
        batch(gdpr={str(number): given_at(True) for number in range(1_001)}),
    ],
)
def test_state_that_does_not_add_up_is_malformed_but_tells_its_subject(document: Any) -> None:
    (signal,) = mparticle.read(document)
    assert signal.problem and not signal.answers and signal.values["mpid"] == "42"


def plainly_granted(document: Any) -> set[str]:
    """The second reader: the schema by hand, one batch at a time."""
    found: set[str] = set()
    for part in document if isinstance(document, list) else [document]:
        state = part.get("consent_state") if isinstance(part, dict) else None
        if not isinstance(state, dict):
            continue
        purposes = {**{"gdpr": {}, "ccpa": {}}, **{key: state[key] or {} for key in ("gdpr", "ccpa") if state.get(key)}}
        if any(state.get(key) is not None and type(state[key]) is not dict for key in ("gdpr", "ccpa")):
            continue
        names = [(regime, name, what) for regime, named in purposes.items() for name, what in named.items()]
        yes = {name for regime, name, what in names if regime == "gdpr" and says(what, True)}
        unreadable = [(r, w) for r, name, w in names if not (name == name.strip() and name.isprintable() and name)]
        unreadable += [(r, w) for r, name, w in names if "*" in name or len(name) > 1_024]
        if not any(not says(what, regime == "gdpr") for regime, what in unreadable):
            found |= {f"gdpr.{name}" for name in yes if name == name.strip() and name and "*" not in name}
    return {name for name in found if name.isprintable() and len(name) <= 1_029}


def says(what: Any, wanted: bool) -> bool:
    return isinstance(what, dict) and what.get("consented") is wanted


def denies(path: tuple[Any, ...], part: Any) -> bool:
    return False


@RULES
@given(documents(GOLDENS, WORDS))
def test_damaged_batches_grant_only_what_is_plain(document: Any) -> None:
    check_form(mparticle.read, document)
    assert granted(mparticle.read(document)) == plainly_granted(document)


@RULES
@given(documents(GOLDENS, WORDS))
def test_removing_a_part_never_grants(document: Any) -> None:
    check_removal(mparticle.read, document, denies)


def test_properties_catch_a_reader_that_takes_an_opt_out_for_a_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mparticle, "_answer", lambda regime, consented: "granted" if consented is True else "refused")

    def check(document: Any) -> None:
        assert granted(mparticle.read(document)) == plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))
