"""A no never adds anyone: not by what it says, nor by whom it is linked to; a browser's yes never speaks for others.

Over every shipped segment, of presence and of absence, by Hypothesis: what is on record, and with one thing more.
People are compared by their identifiers, because a person's key may change when something is linked. Not compared are
those whom a link parts: an identifier that two accounts share joins nobody any more, and a no of one part does not pass
through it to another, for it might be a stranger's. With one in some thousand such worlds somebody is added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from orchestration.policy.loader import SHIPPED, load_policy
from tests.audiences import (
    Audience,
    gated,
    members,
    people,
    random_audience,
    random_denial,
    random_stranger,
    random_weak_grant,
    stage_audiences,
)
from tests.integration.conftest import Decided
from tests.integration.test_mutants import MUTANTS
from tests.staged import Chain
from tests.worlds import Dice

BATCH = 30
BATCHES = 5  # two builds each: 300 worlds, in about six seconds
NIGHTLY_BATCHES = 60
POLICY = load_policy(SHIPPED)
DICE = st.randoms(use_true_random=True)  # one draw: nothing is made smaller, and thousands would take half the time
RULES = settings(
    deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], print_blob=False
)
More = Callable[[Dice, Audience, int], Audience]


@dataclass(frozen=True, repr=False)
class Pair:
    """The same people before and after something more is on record."""

    before: list[Audience]
    after: list[Audience]


@dataclass(frozen=True)
class Seen:
    """Who is in what, what passed the gate, and which person each identifier belongs to."""

    members: set[tuple[str, str]]
    gated: set[tuple[str, str]]
    people: dict[str, str]

    def beside(self, token: str) -> set[str]:
        """The identifiers of the person whose the token is."""
        person = self.people.get(token)
        return {other for other, its in self.people.items() if its == person}


@dataclass(frozen=True)
class Segments:
    """All models up to the people of segments, in memory."""

    chain: Chain
    con: duckdb.DuckDBPyConnection
    mutant: tuple[str, str] = ("", "")

    def seen(self, audiences: list[Audience]) -> Seen:
        stage_audiences(self.con, POLICY, audiences)
        self.chain.run(self.con, *self.mutant)
        return Seen(members(self.con), gated(self.con), people(self.con))


@pytest.fixture(scope="module")
def segments(decided: Decided) -> Iterator[Segments]:
    chain = Chain.of(decided.manifest, "int_segment_people", "int_touchpoints_gated_by_purpose")
    with chain.open() as con:
        yield Segments(chain, con)


def with_denial(dice: Dice, audience: Audience, number: int) -> Audience:
    return audience.having(events=[random_denial(dice, audience.world, number * 1000 + 990)])


def with_stranger(dice: Dice, audience: Audience, number: int) -> Audience:
    kinds, link, denials = random_stranger(dice, audience.world, number)
    return audience.having(kinds=kinds, links=[link], events=denials)


def with_weak_grant(dice: Dice, audience: Audience, number: int) -> Audience:
    """A browser of somebody, and its yes to whatever."""
    kinds, link, grant = random_weak_grant(dice, audience.world, number)
    return audience.having(kinds=kinds, links=[link], events=[grant])


def check(segments: Segments, more: More, batches: int, start: int) -> Counter[str]:
    """Runs the property; how often each segment had somebody in it before."""
    before_in: Counter[str] = Counter()

    @st.composite
    def pairs(draw: st.DrawFn) -> Pair:
        dice = Dice(draw(DICE).randrange)
        before = [random_audience(dice, POLICY, number) for number in range(1, BATCH + 1)]
        return Pair(before, [more(dice, audience, number) for number, audience in enumerate(before, start=1)])

    @seed(start)
    @settings(RULES, max_examples=batches)
    @given(pairs())
    def nobody_is_added(pair: Pair) -> None:
        before, after = segments.seen(pair.before), segments.seen(pair.after)
        before_in.update(segment for segment, _ in before.members)
        parted = {token for token in before.people if before.beside(token) - after.beside(token)}
        passed = {(k, p) for k, p in after.gated - before.gated if k.rpartition("v")[0] not in parted}
        assert not passed, _told(pair, min(passed)[0])
        # someone is new to a segment if no identifier that is theirs now was in it
        known = {(segment, after.people.get(token)) for segment, token in before.members}
        added = {(s, t) for s, t in after.members - before.members if (s, after.people[t]) not in known}
        added = {(segment, token) for segment, token in added if token not in parted}
        assert not added, f"{min(added)}\n{_told(pair, min(added)[1])}"

    nobody_is_added()
    return before_in


def _told(pair: Pair, name: str) -> str:
    """The world that a token or a touchpoint is of, as it is after."""
    audience = pair.after[int(name[1:].split("p")[0].split("s")[0]) - 1]
    return "\n".join([name, audience.world.told(), *map(str, audience.visits)])


@pytest.mark.parametrize("more", [with_denial, with_stranger, with_weak_grant])
def test_nobody_is_added(more: More, segments: Segments) -> None:
    before_in = check(segments, more, BATCHES, start=1)
    assert len(before_in) >= 10, f"segments without anybody prove nothing: {before_in}"


BROKEN = [
    (with_weak_grant, "a weak grant spreads"),
    (with_denial, "a refusal makes the basis laxer"),
    (with_weak_grant, "a browser tells where a person lives"),
]


@pytest.mark.parametrize(("more", "rule"), BROKEN)
def test_broken_rule_adds_somebody(more: More, rule: str, segments: Segments) -> None:
    broken = replace(segments, mutant=MUTANTS[rule])
    with pytest.raises(AssertionError):
        check(broken, more, 2 * BATCHES, start=1)


@pytest.mark.slow
@pytest.mark.parametrize("more", [with_denial, with_stranger, with_weak_grant])
def test_nobody_is_added_at_length(more: More, segments: Segments, pytestconfig: pytest.Config) -> None:
    start = pytestconfig.getoption("worlds_seed")
    print(f"\n{more.__name__}: seed {start}")
    before_in = check(segments, more, NIGHTLY_BATCHES, start)
    assert len(before_in) >= 12, f"segments without anybody prove nothing: {before_in}"
