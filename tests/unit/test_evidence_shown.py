"""Counts of people as they are told: none is told below the minimum, and none can be worked out from others (E8)."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestration.evidence.shown import Shown, Told
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import ShownCounts

RULES = [(10, 5), (10, 10), (6, 3), (3, 3), (20, 4)]
MOST = 400


@cache
def candidates(shown: Shown, told: Told) -> tuple[int, ...]:
    """The counts that would be told so by themselves; one that is not told may be anything."""
    return tuple(n for n in range(MOST) if told is not None and shown.tell(n) == told)


def that_fit(shown: Shown, name: str, parts: dict[str, int], told: dict[str, Told]) -> set[int]:
    """What the small part `name` may be, for whoever sees the total and the parts as they are told, and tries all."""
    totals = set(candidates(shown, shown.tell(sum(parts.values()))))
    others = [name_ for name_ in parts if name_ != name]
    choices = [candidates(shown, told[other]) or tuple(range(1, shown.minimum)) for other in others]
    sums = {sum(chosen) for chosen in itertools.product(*choices)}
    is_open = any(told[other] is None and parts[other] >= shown.minimum for other in others)  # it may be any number
    if is_open:
        return set(range(1, shown.minimum))
    return {n for n in range(1, shown.minimum) if any(n + rest in totals for rest in sums)}


@pytest.mark.fault("E8")
@pytest.mark.parametrize("rule", RULES)
def test_small_part_cannot_be_worked_out_from_total_and_other_parts(rule: tuple[int, int]) -> None:
    """Complementary suppression: for each small part beside one or two others, several counts fit what is told."""
    shown = Shown(*rule)
    sizes = [0, *range(shown.minimum, shown.minimum + 2 * shown.step)]
    for small, others in itertools.product(range(1, shown.minimum), itertools.product(sizes, repeat=2)):
        parts = {"small": small, **{f"other_{n}": people for n, people in enumerate(others)}}
        told = shown.tell_parts(parts)
        assert told["small"] is None
        if shown.tell(sum(parts.values())) is not None:
            fitting = that_fit(shown, "small", parts, told)
            assert small in fitting and len(fitting) > 1, (parts, told)


@pytest.mark.fault("E8")
def test_part_that_totals_would_fix_takes_another_with_it() -> None:
    """Four parts at the end of their steps and a total at the beginning of its own would leave one number only."""
    shown, parts = Shown(10, 5), {"a": 14, "b": 14, "c": 14, "d": 14, "small": 9}
    told = shown.tell_parts(parts)
    assert sum(parts.values()) == 65 == shown.tell(65)
    assert sorted(told.values(), key=str) == [10, 10, 10, None, None], "one more is not told"
    assert shown.tell_parts({"small": 9, "a": 14}, rest=42)["small"] is None


@pytest.mark.fault("E8")
@pytest.mark.parametrize(("rule", "size", "count"), [((3, 3), 2, 3), ((10, 5), 9, 5), ((10, 10), 9, 10)])
def test_small_parts_that_the_total_fixes_are_not_told_by_name(rule: tuple[int, int], size: int, count: int) -> None:
    """Each as large as what is not told can be, and a total that says so: nothing is left that could be hidden too."""
    shown, parts = Shown(*rule), {f"part_{n}": size for n in range(count)}
    assert shown.tell(size * count) == size * count
    assert shown.tell_parts(parts) == {}
    one_less = {**parts, "part_0": size - 1}
    assert shown.tell_parts(one_less) == dict.fromkeys(parts), "a total that leaves room tells of none"


@given(st.lists(st.integers(0, 40), min_size=2, max_size=4), st.sampled_from(RULES))
@settings(max_examples=200, deadline=None)
def test_no_small_part_of_any_partition_can_be_worked_out(sizes: list[int], rule: tuple[int, int]) -> None:
    shown, parts = Shown(*rule), {f"part_{n}": people for n, people in enumerate(sizes)}
    told = shown.tell_parts(parts)
    assert told.keys() in (parts.keys(), set())
    for name, people in parts.items() if told else ():
        if 0 < people < shown.minimum and shown.tell(sum(sizes)) is not None:
            fitting = that_fit(shown, name, parts, told)
            alone = all(other == name or not value for other, value in parts.items())
            assert people in fitting and (alone or len(fitting) > 1), (parts, told)


@pytest.mark.fault("E8")
@pytest.mark.parametrize("rule", RULES)
def test_two_segments_or_generations_do_not_tell_of_one_person(rule: tuple[int, int]) -> None:
    """Differencing: what is told of n and of n + 1 people fits another difference than one as well."""
    shown = Shown(*rule)
    for people in range(1, 100):
        before, after = (
            candidates(shown, shown.tell(n)) or tuple(range(1, shown.minimum)) for n in (people, people + 1)
        )
        assert {b - a for a in before for b in after} - {1}, people


@pytest.mark.parametrize("mutant", [
    "lambda self, people: people",
    "lambda self, people: None if 0 < people < self.minimum else people",
])  # fmt: skip
def test_rule_without_rounding_is_caught(monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    """Suppression alone is undone by totals: without rounding and complements the tests above fail."""
    monkeypatch.setattr(Shown, "tell", eval(mutant))
    monkeypatch.setattr(Shown, "_fixes", lambda *_, **__: False)
    candidates.cache_clear()
    with pytest.raises(AssertionError):
        test_small_part_cannot_be_worked_out_from_total_and_other_parts((10, 5))
    with pytest.raises(AssertionError):
        test_two_segments_or_generations_do_not_tell_of_one_person((10, 5))
    candidates.cache_clear()


@given(st.integers(0, 10_000_000))
def test_told_counts_are_near_and_never_small(people: int) -> None:
    shown = Shown(10, 5)
    told = shown.tell(people)
    assert 0 < people < 10 if told is None else told % 5 == 0 and 0 <= people - told < 5


def test_shipped_policy_hides_small_counts() -> None:
    assert Shown.of(load_policy()).minimum >= 10


@pytest.mark.parametrize(("minimum", "rounded_to", "good"), [
    (10, 5, True), (1, 1, True), (3, 3, True), (10, 2, False), (10, 1, False), (10, 4, False), (4, 5, False),
])  # fmt: skip
def test_policy_refuses_a_rule_that_hides_nothing(minimum: int, rounded_to: int, good: bool) -> None:
    if good:
        assert ShownCounts(minimum=minimum, rounded_to=rounded_to)
    else:
        with pytest.raises(ValidationError, match="can be worked out"):
            ShownCounts(minimum=minimum, rounded_to=rounded_to)


def test_export_is_told_whole() -> None:
    export = {"segment": "s", "rows": 17, "removals": 1, "withheld": {"withdrawn": 1, "no_contact_point": 22}}
    assert Shown(10, 5).export(export) == {
        "segment": "s", "rows": 15, "removals": None, "withheld": {"withdrawn": None, "no_contact_point": 20},
    }  # fmt: skip
