"""The shared looks into consent objects: strict types, times in one range, the stricter answer everywhere."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.consent.signals import document as looks
from orchestration.consent.signals.signal import Signal
from tests.unit.signals.objects import RULES

SECONDS = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("u1", "u1"),
        (" u1 ", "u1"),
        (7, "7"),
        (0, "0"),
        (True, None),
        (1.0, None),
        ("", None),
        ("  ", None),
        ("a\x00b", None),
        ("a\nb", None),
        ("\ud800", None),
        ("x" * 1_025, None),
        ("营销", "营销"),
        (2**63, None),
        (10**4_000, None),
        ([], None),
        (None, None),
    ],
)
def test_text_is_short_printable_and_never_coerced(value: Any, expected: str | None) -> None:
    assert looks.text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("C0001", "C0001"), (" C0001", None), (3, "3"), (True, None), ("*", None), ("P.*", None), (None, None)],
)
def test_code_is_taken_as_it_stands_and_never_for_a_wildcard(value: Any, expected: str | None) -> None:
    assert looks.code(value) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1672531200000, "milliseconds", "2023-01-01T00:00:00.000+00:00"),
        (1672531200123, "milliseconds", "2023-01-01T00:00:00.123+00:00"),
        (1672531200, "seconds", "2023-01-01T00:00:00.000+00:00"),
        ("1672531200", "seconds", "2023-01-01T00:00:00.000+00:00"),
        (1672531200000001, "microseconds", "2023-01-01T00:00:00.000001+00:00"),
        ("2023-01-01T00:00:00Z", "milliseconds", "2023-01-01T00:00:00Z"),
        (1672531200, "milliseconds", None),
        (1672531200000, "seconds", None),
        (-1, "seconds", None),
        (0, "milliseconds", None),
        (True, "seconds", None),
        (1672531200.5, "seconds", None),
        (10**400, "seconds", None),
        ("9" * 5_000, "seconds", None),
    ],
)
def test_moment_is_utc_or_nothing(value: Any, unit: looks.Unit, expected: str | None) -> None:
    assert looks.moment(value, unit) == expected


@RULES
@given(st.integers(946_684_800, 4_102_444_799), st.sampled_from(sorted(SECONDS)))
def test_moment_keeps_its_instant_and_no_other_unit_takes_it(second: int, unit: Any) -> None:
    number = second * SECONDS[unit]
    read = looks.moment(number, unit)
    assert read is not None and datetime.fromisoformat(read).timestamp() == second
    assert all(looks.moment(number, other) is None for other in SECONDS if other != unit)  # type: ignore[arg-type]


def test_nested_look_never_raises() -> None:
    assert looks.at({"a": {"b": 1}}, "a.b") == 1
    assert looks.at({"a": [1]}, "a.b") is None
    assert looks.at("text", "a") is None
    assert looks.at({"a": None}, "a.b.c") is None


def test_the_stricter_answer_stays_whatever_comes_first() -> None:
    for order in (["granted", "refused"], ["refused", "granted"], ["silent", "refused"], ["refused", "silent"]):
        answers: dict[str, Any] = {}
        for answer in order:
            looks.say(answers, "x", answer)
        assert answers == {"x": "refused"}


def test_one_moment_is_one_signal_and_a_contradiction_is_refused_in_each() -> None:
    early, late, undated = {"at": "1"}, {"at": "2"}, {"who": "u"}
    said: list[looks.Said] = [({"a": "granted"}, early), ({"b": "refused"}, early), ({"a": "refused"}, late)]
    both = looks.by_moment(said, "at")
    assert [dict(signal.answers) for signal in both] == [{"a": "granted", "b": "refused"}, {"a": "refused"}]
    assert looks.by_moment(said)[0].answers["a"] == "refused"  # no time is named: nothing tells which came later
    with_undated = looks.by_moment([*said, ({"b": "granted"}, undated)], "at")
    assert with_undated[2].answers["b"] == "refused"
    undated_denial = looks.by_moment([({"a": "granted"}, early), ({"a": "refused"}, undated)], "at")
    assert [signal.answers["a"] for signal in undated_denial] == ["refused", "refused"]


def test_asked_code_that_is_missing_is_refused() -> None:
    signal = Signal({"P": "granted", "P.*": "refused", "P.weekly": "granted", "Q": "granted"})
    assert looks.asked(signal, "P.weekly", True) == "granted"
    assert looks.asked(signal, "P.monthly", True) == "refused"
    assert looks.asked(signal, "R", True) is None
    assert looks.asked(signal, "R", False) == "refused"
    assert looks.asked(Signal(), "R", True) == "refused"  # an absent consent object
    assert looks.asked(Signal({"*": "refused"}), "R", True) == "refused"
    assert looks.asked(Signal(problem="broken"), "R", True) == "refused"


def test_too_many_documents_are_refused_whole() -> None:
    def read_one(part: dict[str, Any]) -> list[Signal]:
        return [Signal({"a": "granted"})]

    assert len(looks.read_each([{}] * 10_000, read_one)) == 10_000
    for payload in ([{}] * 10_001, {"batch": [{}] * 10_001}, [{"batch": [{}] * 2_000}] * 6):
        signals = looks.read_each(payload, read_one, within=["batch"])
        assert len(signals) == 1 and signals[0].problem and not signals[0].answers


@pytest.mark.parametrize("payload", [None, 1, "text", True, [None], [[{}]], ["{}"]])
def test_what_is_no_object_is_malformed(payload: Any) -> None:
    signals = looks.read_each(payload, lambda part: [Signal({"a": "granted"})])
    assert [bool(signal.problem) for signal in signals] == [True]
    assert json.dumps(payload) not in str(signals[0].problem)


def test_text_holds_nothing_that_cannot_be_seen() -> None:
    """Controls, bidi marks and unassigned characters (found by the fuzzer): two codes could look the same."""
    assert [looks.text(f"shop{mark}ads") for mark in ("\x00", "\u202e", "\u200b", "\u074c", "\ud800")] == [None] * 5
    assert looks.text("ads 广告") == "ads 广告"
