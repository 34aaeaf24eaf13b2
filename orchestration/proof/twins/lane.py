"""Compares pairs on a connection of its own: lanes run side by side over one base world, each with the next pair.

Not here: which pairs there are (`pairs.py`), and what is made of what is found (`prove.py`)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

import duckdb

from orchestration.policy.schema import Policy
from orchestration.proof.twins.changes import Change
from orchestration.proof.twins.exposed import IDENTIFIED, Exposed, Rule, difference
from orchestration.proof.twins.pairs import Pair
from orchestration.proof.twins.shrink import smallest
from orchestration.proof.twins.tally import Obligation, Tallies
from orchestration.proof.twins.words import failure, not_exposed, not_run, unsteady
from orchestration.proof.twins.world import ModelFailedError, Plan, World, quoted

Check = tuple[Exposed, Rule]


@dataclass
class Lane:
    """Not to be shared between threads; `base` is the base world by this lane's connection, and is only read. The twins
    that were made are every lane's: what only this connection sees (temporary tables) must be made anew to be used."""

    base: World
    policy: Policy
    as_of: datetime
    schemas: frozenset[str]
    is_kept: bool  # for the next project; else a twin goes when it was compared
    twins: dict[str, World]
    touched: dict[str, set[tuple[str, str]]]
    ahead: dict[str, World] = field(default_factory=dict)  # by the name of their pair, not compared yet

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        return self.base.con

    def prepare(self, pair: Pair) -> None:
        """Makes the inputs of a twin ahead of `compare`."""
        self.ahead[pair.name] = self._twin(pair)

    def compare(self, pair: Pair, broken: Collection[str], plan: Plan, *, shrink: bool) -> Tallies:
        """Runs a twin and compares what is exposed, but for relations that are `broken` in the base already."""
        checks = [check for check in pair.checks if check[0].relation not in broken]
        twin = self.ahead.pop(pair.name, None) or self._twin(pair)
        failed = _run(twin, plan.up_to([*IDENTIFIED, *(exposed.relation for exposed, _ in checks)]))
        found = Tallies()
        owed = {channel: self._obligations(pair, channel) for channel in {exposed.channel for exposed, _ in checks}}
        differing: list[Check] = []
        for exposed, rule in checks:
            tally = found[exposed]
            obligations = owed[exposed.channel]
            tally.obligations |= obligations
            what = seen = None
            if failed is not None and exposed.relation not in twin.versions:
                what = not_run(failed, exposed.relation, is_twin=True)
            else:
                try:
                    seen = difference(self.base, twin, exposed, rule, touched_of(twin))
                except duckdb.Error:
                    what = not_exposed(exposed.relation)  # not as exports read it
            if what is not None:
                tally.broken |= obligations
                tally.failures.append(what)
            elif seen is not None:
                differing.append((exposed, rule))
                tally.broken |= obligations
                if not shrink:
                    tally.failures.append(failure(exposed, rule, None, seen))
        if shrink:
            self._tell(pair, differing, plan, found)
        if not self.is_kept:
            twin.close()
        return found

    def _obligations(self, pair: Pair, channel: str | None) -> set[Obligation]:
        name = f"{pair.name} {channel or ''}"
        return {(name, kind, regime) for kind, regime in self.touched[pair.name]}

    def _tell(self, pair: Pair, differing: list[Check], plan: Plan, found: Tallies) -> None:
        """Adds a counter-example for each, as small as can be found; what it does not break holds."""
        while differing:
            told = smallest(self, pair, differing, plan)
            for exposed, rule in differing:
                tally = found[exposed]
                if exposed in told:
                    tally.failures.append(failure(exposed, rule, told[exposed]))
                elif exposed == differing[0][0]:  # it came and went
                    tally.failures.append(unsteady(exposed))
            differing = [(exposed, rule) for exposed, rule in differing[1:] if exposed not in told]

    def _twin(self, pair: Pair) -> World:
        if pair.name in self.twins:
            return replace(self.twins[pair.name], con=self.con, base=self.base)
        twin = World(self.con, pair.name, self.base).open(self.schemas)
        self.fill(pair, twin)
        self.touch(pair, twin)
        found = self.con.execute(f"select distinct kind, regime from ({pair.touched})").fetchall()
        kinds = {change.kind for change in pair.changes}
        self.touched[pair.name] = {(kind, regime) for kind, regime in found if kind in kinds}
        if self.is_kept:
            self.twins[pair.name] = twin
        return twin

    def fill(
        self, pair: Pair, twin: World, changes: Collection[Change] | None = None, people: Collection[int] | None = None
    ) -> None:
        """Makes the inputs of a twin: with all changes of the pair for everybody, or some for some."""
        pair.fill(twin, pair.changes if changes is None else changes, people)
        twin.resolve(self.as_of, [source.name for source in self.policy.sources.sources])

    def touch(self, pair: Pair, twin: World) -> str:
        """Makes the table of the tokens of all whom a twin, just filled, touches. Its name as SQL."""
        self.base.use()
        self.con.execute(
            f"create or replace table {touched_of(twin)} as select distinct p.token from twin_people as p "
            f"inner join ({pair.touched}) as t on p.person = t.person"
        )
        return touched_of(twin)


def touched_of(twin: World) -> str:
    """The table of those whom a twin touches, as SQL."""
    return quoted(twin.name, "main.touched")


def _run(twin: World, plan: Plan) -> str | None:
    """The model that failed to run, if one did."""
    try:
        twin.run(plan)
    except ModelFailedError as error:
        return error.model
    return None
