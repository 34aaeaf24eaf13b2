"""Finds the smallest twin that still differs: the fewest changes, then the fewest people (delta debugging, Zeller
1999).

Not here: what is said of it (`words.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import duckdb

from orchestration.proof.twins.changes import Change
from orchestration.proof.twins.exposed import IDENTIFIED, Difference, Exposed, Rule, difference
from orchestration.proof.twins.pairs import Pair
from orchestration.proof.twins.world import ModelFailedError, Plan, World

if TYPE_CHECKING:
    from orchestration.proof.twins.lane import Lane

TRIALS = 70  # of a fraction of a second each; what is found by then is told
Item = TypeVar("Item")


@dataclass(frozen=True)
class Smallest:
    """The changes that suffice, for how many people, what differs then, and by which models the difference came."""

    changes: tuple[Change, ...]
    people: int
    found: Difference
    path: tuple[str, ...]


@dataclass
class _Trials:
    """One world that is filled again and again, for one pair."""

    lane: Lane
    pair: Pair
    plan: Plan
    twin: World
    left: int = TRIALS

    def differs(
        self, exposed: Exposed, rule: Rule, changes: Sequence[Change], people: Sequence[int] | None
    ) -> Difference | None:
        """Fills the world, and compares. After enough trials nothing more is tried."""
        if self.left <= 0:
            return None
        self.left -= 1
        self.lane.fill(self.pair, self.twin, changes, None if people is None else list(people))
        return self.again(exposed, rule)

    def again(self, exposed: Exposed, rule: Rule) -> Difference | None:
        """Compares what is filled."""
        try:
            self.twin.run(self.plan.up_to([*IDENTIFIED, exposed.relation]))
            return difference(self.lane.base, self.twin, exposed, rule, self.lane.touch(self.pair, self.twin))
        except (ModelFailedError, duckdb.Error):
            return None


def smallest(lane: Lane, pair: Pair, broken: Sequence[tuple[Exposed, Rule]], plan: Plan) -> dict[Exposed, Smallest]:
    """The smallest twin of a pair for the first of what is broken; what else is broken by the same is told with it."""
    twin = World(lane.con, f"shrunk {pair.name}", lane.base).open(lane.schemas)
    trials = _Trials(lane, pair, plan, twin)
    changes, people = _shrink(trials, *broken[0])
    trials.left += 1
    trials.differs(*broken[0], changes, people)
    told = {}
    for exposed, rule in broken:
        found = trials.again(exposed, rule)
        if found is not None:
            path = path_of(twin, plan, exposed.relation, changes)
            told[exposed] = Smallest(tuple(changes), len(people or ()), found, path)
    twin.close()
    return told


def _shrink(trials: _Trials, exposed: Exposed, rule: Rule) -> tuple[list[Change], list[int] | None]:
    """Kinds before tables, tables before what is done, and columns last: each narrows the rest by much."""

    def fails(some: list[Change]) -> bool:
        return trials.differs(exposed, rule, some, None) is not None

    changes = list(trials.pair.changes)
    for name in ("kind", "table", "done"):
        groups = sorted({str(getattr(change, name)) for change in changes})
        among = partial(_among, changes, name)
        kept = fewest(groups, lambda some, among=among: fails(among(some)))  # type: ignore[misc]
        changes = among(kept)
    changes = fewest(changes, fails)
    trials.lane.base.use()
    found = trials.lane.con.execute("select distinct person from twin_people union select -1 order by 1").fetchall()
    people = [int(row[0]) for row in found]
    if trials.differs(exposed, rule, changes, people) is None:
        return changes, None
    return changes, fewest(people, lambda some: trials.differs(exposed, rule, changes, some) is not None)


def _among(changes: list[Change], name: str, values: list[str]) -> list[Change]:
    return [change for change in changes if getattr(change, name) in values]


def fewest(items: Sequence[Item], fails: Callable[[list[Item]], bool]) -> list[Item]:
    """A part of `items` that fails and of which no smaller chunk was seen to. `items` fail as a whole."""
    left, chunks = list(items), 2
    while len(left) > 1:
        size = -(-len(left) // chunks)
        parts = [left[start : start + size] for start in range(0, len(left), size)]
        for part in parts:
            if fails(part):
                left, chunks = part, 2
                break
        else:
            for part in parts if len(parts) > 2 else ():
                rest = [item for item in left if item not in part]
                if fails(rest):
                    left, chunks = rest, max(chunks - 1, 2)
                    break
            else:
                if chunks >= len(left):
                    break
                chunks = min(chunks * 2, len(left))
    return left


def path_of(twin: World, plan: Plan, relation: str, changes: Sequence[Change]) -> tuple[str, ...]:
    """The shortest way by which what is changed reaches `relation`, from the table to the relation, through what
    differs."""
    reads, tables = plan.reads, {change.table for change in changes}
    ways: list[tuple[str, ...]] = [(relation,)]
    seen = {relation}
    for way in ways:
        if way[0] in tables:
            return way
        for read in reads.get(way[0], ()):
            if read not in seen and twin.differs(read):
                seen.add(read)
                ways.append((read, *way))
    return next((way for way in ways if way[0] not in reads), (relation,))  # somebody renamed is in every table
