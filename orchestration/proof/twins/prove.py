"""Proves by twins that what is exposed for a purpose does not depend on what policy forbids for it.

A base world is sampled from a staged build (`sample.py`, `cast.py`); each twin differs from it in what is forbidden
for an audience; the project's compiled SQL is run over both, on DuckDB alone; what is exposed must be the same.
`Prover` keeps its worlds, and runs only what a changed model changes: one mutant of a model costs well under two
seconds, so load once and call `prove(mutated_project, shrink=False)` for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.proof.project import Project
from orchestration.proof.twins.cast import invent_people
from orchestration.proof.twins.exposed import IDENTIFIED, Exposed, Rule, difference
from orchestration.proof.twins.forbidden import Audience, audiences, tell_states
from orchestration.proof.twins.pairs import Pair, all_pairs
from orchestration.proof.twins.sample import copy_staged, label_people, staged_tables
from orchestration.proof.twins.shrink import smallest
from orchestration.proof.twins.words import failure, not_exposed, not_run, stray, unsteady
from orchestration.proof.twins.world import BASE, ModelFailedError, Plan, World
from orchestration.proof.verdict import Failure, Verdict
from orchestration.warehouse.duckdb_settings import connect

SAMPLE = 150  # people of the home
INVENTED = 110  # of each controller
Obligation = tuple[str, str, str]  # pair, kind, regime


def prove_by_twins(
    home: Home, build_file: Path, project: Project, policy: Policy, *, seed: int, people: int | None = SAMPLE
) -> tuple[Verdict, ...]:
    """A verdict for each exposed relation and purpose, over a sample of `people` or (None) everybody in the build file.

    `build_file`: as `stage_inputs` left it, before or after dbt. Raises InputsGoneError where its rows are gone, and
    TwinsFailedError where a twin cannot be made."""
    try:
        with Prover.load(home, build_file, project, policy, seed=seed, people=people) as prover:
            return prover.prove(project)
    except duckdb.Error:
        pass  # its words may quote a value, so they are not kept
    raise TwinsFailedError(
        "twins of what it reads could not be made", where=build_file.name, remedy="Run `assent doctor`, and prove again"
    )


class TwinsFailedError(AssentError):
    """DuckDB could not make a world: out of memory or room, or a staged table that is not as declared."""


@dataclass
class Tally:
    """What is said of one relation and purpose."""

    obligations: set[Obligation] = field(default_factory=set)
    broken: set[Obligation] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    rows: dict[Exposed, int] = field(default_factory=dict)

    def verdict(self, relation: str, purpose: str | None) -> Verdict:
        open_ones = len(self.broken) or (1 if self.failures else 0)
        count = max(len(self.obligations), open_ones)
        rows = sum(self.rows.values()) if self.rows else None
        return Verdict("twins", relation, purpose, count, count - open_ones, tuple(self.failures), rows)


@dataclass
class Prover:
    """The worlds, their inputs made once. Not to be shared between threads."""

    con: duckdb.DuckDBPyConnection
    policy: Policy
    as_of: datetime
    base: World
    audiences: list[Audience]
    pairs: list[Pair]
    schemas: frozenset[str]
    is_kept: bool  # the twins of a sample are kept for the next project; those of a whole home are made one at a time
    twins: dict[str, World] = field(default_factory=dict)
    touched: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    @classmethod
    def load(
        cls, home: Home, build_file: Path, project: Project, policy: Policy, *, seed: int, people: int | None = SAMPLE
    ) -> Prover:
        """Samples the base world. `project` says which values the models ask for, and which relations are exposed."""
        con = connect(home)
        con.execute("set threads = 1; set preserve_insertion_order = true")  # the same order of rows in every world
        schemas = frozenset(
            {relation.layer for relation in project} | {t.partition(".")[0] for t in staged_tables(policy)}
        )
        base = World(con, BASE).open(schemas)
        copy_staged(base, build_file, policy, seed=seed, people=people)
        invent_people(base, policy, project, seed=seed, people=INVENTED)
        label_people(con, base, policy)
        tell_states(base, policy)
        told = con.execute("select as_of from meta.builds").fetchall()[0][0]
        as_of = told.replace(tzinfo=UTC)
        base.resolve(as_of, [source.name for source in policy.sources.sources])
        con.execute(f'use "{BASE}"')
        everyone = audiences(con)
        pairs = all_pairs(base, policy, project, everyone)
        return cls(con, policy, as_of, base, everyone, pairs, schemas, people is not None)

    def __enter__(self) -> Prover:
        return self

    def __exit__(self, *_: object) -> None:
        self.con.close()

    def prove(self, project: Project, *, shrink: bool = True, stop_at_first: bool = False) -> tuple[Verdict, ...]:
        """A verdict for each exposed relation and purpose. With `stop_at_first`, up to the first pair that differs."""
        tallies: dict[tuple[str, str | None], Tally] = {}
        for stranger in self._strays(project):
            tallies.setdefault((stranger, None), Tally()).failures.append(stray(stranger))
        plan, broken = self._run_base(project, tallies)
        for pair in self.pairs:
            checks = [(exposed, rule) for exposed, rule in pair.checks if exposed.relation not in broken]
            self._count(checks, tallies)
            if self._compare(pair, checks, plan, tallies, shrink=shrink) and stop_at_first:
                break
        return tuple(tally.verdict(*key) for key, tally in sorted(tallies.items(), key=lambda item: str(item[0])))

    def _count(self, checks: list[tuple[Exposed, Rule]], tallies: dict[tuple[str, str | None], Tally]) -> None:
        """How many rows of the base there are to compare; those of one channel are among them."""
        for exposed, _ in checks:
            tally = tallies.setdefault((exposed.relation, exposed.purpose), Tally())
            if exposed.channel is None and exposed not in tally.rows:
                with contextlib.suppress(duckdb.Error):  # not as exports read it: said where it is compared
                    found = self.con.execute(f"select count(*) from ({exposed.query(self.base)})").fetchall()
                    tally.rows[exposed] = int(found[0][0])

    def _strays(self, project: Project) -> list[str]:
        """Marts that belong to no segment of policy: nobody can say for what purpose they are."""
        known = {f"marts.{name}" for audience in self.audiences for name in audience.segments}
        return [model.name for model in project.models if model.layer == "marts" and model.name not in known]

    def _run_base(self, project: Project, tallies: dict[tuple[str, str | None], Tally]) -> tuple[Plan, set[str]]:
        """Runs the models over the base world; which exposed relations there are not, or cannot be made."""
        wanted = {exposed.relation: exposed for pair in self.pairs for exposed, _ in pair.checks}
        told_by = [name for name in IDENTIFIED if name in project]
        broken = {name for name in wanted if name not in project}
        for name in broken:
            self._fail(wanted[name], not_exposed(name), tallies)
        while True:
            open_ones = sorted(wanted.keys() - broken)
            try:
                plan = Plan.of(self.con, project, [*open_ones, *told_by])
                self.base.run(plan)
                return plan, broken
            except ModelFailedError as error:
                failed = error.model
            hit = [name for name in open_ones if failed in _made_from(project, name)] or open_ones
            if not hit:  # nothing is left to compare, and what says whose a key is does not run either
                return Plan(()), broken
            for name in hit:
                self._fail(wanted[name], not_run(failed, name), tallies)
            broken.update(hit)

    def _fail(self, exposed: Exposed, what: Failure, tallies: dict[tuple[str, str | None], Tally]) -> None:
        for pair in self.pairs:
            for other, _ in pair.checks:
                if other.relation == exposed.relation:
                    tally = tallies.setdefault((other.relation, other.purpose), Tally())
                    if what not in tally.failures:
                        tally.failures.append(what)

    def _compare(
        self,
        pair: Pair,
        checks: list[tuple[Exposed, Rule]],
        plan: Plan,
        tallies: dict[tuple[str, str | None], Tally],
        *,
        shrink: bool,
    ) -> bool:
        """Runs a twin and compares what is exposed. Whether anything differs that must not."""
        twin = self._twin(pair)
        failed = self._run_twin(twin, plan.up_to([*IDENTIFIED, *(exposed.relation for exposed, _ in checks)]))
        broken: list[tuple[Exposed, Rule]] = []
        for exposed, rule in checks:
            tally = tallies.setdefault((exposed.relation, exposed.purpose), Tally())
            obligations = self._obligations(pair, exposed)
            tally.obligations |= obligations
            what = None
            if failed is not None and exposed.relation not in twin.versions:
                what = not_run(failed, exposed.relation, is_twin=True)
            else:
                try:
                    found = difference(self.base, twin, exposed, rule, f'"{twin.name} touched"')
                except duckdb.Error:
                    what = not_exposed(exposed.relation)  # not as exports read it
            if what is not None:
                tally.broken |= obligations
                tally.failures.append(what)
            elif found is not None:
                broken.append((exposed, rule))
                tally.broken |= obligations
                if not shrink:
                    tally.failures.append(failure(exposed, rule, None, found))
        if shrink:
            self._tell(pair, broken, plan, tallies)
        if not self.is_kept:
            twin.close()
        return any(tally.failures for tally in tallies.values())

    def _obligations(self, pair: Pair, exposed: Exposed) -> set[Obligation]:
        return {(f"{pair.name} {exposed.channel or ''}", kind, regime) for kind, regime in self.touched[pair.name]}

    def _tell(
        self, pair: Pair, broken: list[tuple[Exposed, Rule]], plan: Plan, tallies: dict[tuple[str, str | None], Tally]
    ) -> None:
        """Adds a counter-example for each, as small as can be found; what it does not break holds."""
        while broken:
            told = smallest(self, pair, broken, plan)
            for exposed, rule in broken:
                tally = tallies[exposed.relation, exposed.purpose]
                if exposed in told:
                    tally.failures.append(failure(exposed, rule, told[exposed]))
                elif exposed == broken[0][0]:  # it came and went
                    tally.failures.append(unsteady(exposed))
            broken = [(exposed, rule) for exposed, rule in broken[1:] if exposed not in told]

    def _twin(self, pair: Pair) -> World:
        if pair.name not in self.twins:
            twin = World(self.con, f"twin {len(self.touched)}", self.base).open(self.schemas)
            self.fill(pair, twin)
            self.touch(pair, twin)
            found = self.con.execute(f"select distinct kind, regime from ({pair.touched})").fetchall()
            kinds = {change.kind for change in pair.changes}
            self.touched[pair.name] = {(kind, regime) for kind, regime in found if kind in kinds}
            if not self.is_kept:
                return twin
            self.twins[pair.name] = twin
        return self.twins[pair.name]

    def fill(
        self, pair: Pair, twin: World, changes: Iterable[object] | None = None, people: list[int] | None = None
    ) -> None:
        """Makes the inputs of a twin: with all changes of the pair for everybody, or some for some."""
        pair.fill(twin, pair.changes if changes is None else changes, people)  # type: ignore[arg-type]
        twin.resolve(self.as_of, [source.name for source in self.policy.sources.sources])

    def touch(self, pair: Pair, twin: World) -> str:
        """Makes the table of the tokens of all whom a twin, just filled, touches. Its name as SQL."""
        name = f'"{twin.name} touched"'
        self.con.execute(
            f"create or replace temp table {name} as select distinct p.token from twin_people as p "
            f"inner join ({pair.touched}) as t on p.person = t.person"
        )
        return name

    def _run_twin(self, twin: World, plan: Plan) -> str | None:
        """The model that failed to run, if one did."""
        try:
            twin.run(plan)
        except ModelFailedError as error:
            return error.model
        return None


def _made_from(project: Project, name: str) -> set[str]:
    found: set[str] = set()
    open_ones = [name]
    while open_ones:
        one = open_ones.pop()
        if one not in found and one in project:
            found.add(one)
            open_ones.extend(project[one].reads)
    return found
