"""Proves by twins that what is exposed for a purpose does not depend on what policy forbids for it.

A base world is sampled from a staged build (`sample.py`, `cast.py`); each twin differs from it in what is forbidden
for an audience; the project's compiled SQL is run over both, on DuckDB alone; what is exposed must be the same.
`Prover` keeps its worlds, and runs only what a changed model changes: one mutant of a model costs well under two
seconds, so load once and call `prove(mutated_project, shrink=False)` for each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC
from itertools import chain
from pathlib import Path

import duckdb

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.proof.project import Project
from orchestration.proof.twins.alternatives import Words
from orchestration.proof.twins.cast import invent_people
from orchestration.proof.twins.exposed import IDENTIFIED, Exposed
from orchestration.proof.twins.forbidden import Audience, audiences, tell_states
from orchestration.proof.twins.lane import Lane
from orchestration.proof.twins.others import Others
from orchestration.proof.twins.pairs import Pair, all_pairs
from orchestration.proof.twins.sample import Staged, copy_staged, label_people, name_of, staged_tables
from orchestration.proof.twins.tally import Tallies
from orchestration.proof.twins.words import not_exposed, not_run, stray
from orchestration.proof.twins.world import BASE, ModelFailedError, Plan, World
from orchestration.proof.verdict import Failure, Verdict
from orchestration.warehouse.duckdb_settings import beside, connect

SAMPLE = 60  # people of the home
INVENTED = 100  # of each controller: measured, with 80 four of six seeds missed a mutant that only twins see
# Plans that follow from the SQL alone, not from what a world's rows are like: to look costs small worlds more than it
# saves (measured, the shipped models take 0.95 of the time without).
PLAIN = "statistics_propagation,join_filter_pushdown"
LANES = 2  # as many as DuckDB has threads elsewhere; two threads in one query of a small world gain nothing


def prove_by_twins(
    home: Home, staged: Staged, project: Project, policy: Policy, *, seed: int, people: int | None = SAMPLE
) -> tuple[Verdict, ...]:
    """A verdict for each exposed relation and purpose, over a sample of `people` or (None) everybody in what is staged.

    `staged`: a build's file, before or after dbt, or what is staged in memory. Raises InputsGoneError where its rows
    are gone, and TwinsFailedError where a twin cannot be made."""
    try:
        with Prover.load(home, staged, project, policy, seed=seed, people=people, keeps=False) as prover:
            return prover.prove(project)
    except duckdb.Error:
        pass  # its words may quote a value, so they are not kept
    raise TwinsFailedError(
        "twins of what it reads could not be made", where=name_of(staged), remedy="Run `assent doctor`, and prove again"
    )


class TwinsFailedError(AssentError):
    """DuckDB could not make a world: out of memory or room, or a staged table that is not as declared."""


@dataclass
class Prover:
    """The worlds, their inputs made once. Not to be shared between threads; its lanes are threads of its own."""

    base: World
    audiences: list[Audience]
    words: Words
    others: Others
    pairs: Sequence[Pair]
    lanes: list[Lane] = field(default_factory=list)
    twins: dict[str, World] = field(default_factory=dict)  # by the name of their pair
    touched: dict[str, set[tuple[str, str]]] = field(default_factory=dict)  # kinds and regimes of what differs in each

    @classmethod
    def load(
        cls,
        home: Home,
        staged: Staged,
        project: Project,
        policy: Policy,
        *,
        seed: int,
        people: int | None = SAMPLE,
        keeps: bool = True,
    ) -> Prover:
        """Samples the base world. `project` says which values the models ask for, and which relations are exposed. What
        `keeps` its twins has them for the next project, and needs room for all of them at once."""
        con = connect(home) if isinstance(staged, Path) else beside(staged)
        con.execute("set threads = 1; set preserve_insertion_order = true")  # the same order of rows in every world
        con.execute(f"set disabled_optimizers = '{PLAIN}'")
        schemas = frozenset(
            {relation.layer for relation in project} | {t.partition(".")[0] for t in staged_tables(policy)}
        )
        base = World(con, BASE).open(schemas)
        copy_staged(base, staged, policy, seed=seed, people=people)
        invent_people(base, policy, project, seed=seed, people=INVENTED)
        label_people(con, base, policy)
        tell_states(base, policy)
        told = con.execute("select as_of from meta.builds").fetchall()[0][0]
        as_of = told.replace(tzinfo=UTC)
        base.resolve(as_of, [source.name for source in policy.sources.sources])
        base.use()
        everyone = audiences(con)
        asked = replace(base, con=beside(con))  # by whichever lane, while another works by the base's connection
        asked.use()
        words, others = Words(asked.con), Others(base)
        found = cls(base, everyone, words, others, all_pairs(base, policy, project, everyone, words, others))
        for _ in range(LANES):
            mine = replace(base, con=beside(con))
            found.lanes.append(Lane(mine, policy, as_of, schemas, keeps, found.twins, found.touched))
        return found

    def __enter__(self) -> Prover:
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self.lanes:
            lane.con.close()
        self.words.con.close()
        self.con.close()

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        return self.base.con

    def prove(self, project: Project, *, shrink: bool = True, stop_at_first: bool = False) -> tuple[Verdict, ...]:
        """A verdict for each exposed relation and purpose. With `stop_at_first`, up to the first pair that differs."""
        tallies = Tallies()
        for stranger in self._strays(project):
            tallies.at(stranger, None).failures.append(stray(stranger))
        with ThreadPoolExecutor(len(self.lanes)) as threads:
            ahead = self._begin(threads, 0 if stop_at_first else len(self.lanes))
            plan, broken = self._run_base(project, tallies)
            for begun in ahead:
                begun.result()
        self._count(broken, tallies)
        if stop_at_first:
            for pair in self.pairs:
                tallies.add(self.lanes[0].compare(pair, broken, plan, shrink=shrink).of)
                if tallies.has_failed:
                    break
        else:
            self._side_by_side(lambda lane, pair: lane.compare(pair, broken, plan, shrink=shrink), tallies)
        return tuple(tallies.verdicts())

    @property
    def _light_last(self) -> list[int]:
        """The numbers of the pairs, in the order in which lanes take them."""
        return sorted(range(len(self.pairs)), key=lambda number: self.pairs[number].is_light)

    def _begin(self, threads: ThreadPoolExecutor, twins: int) -> list[Future[None]]:
        """What needs no model of the base, beside which it is done: the alternatives, and the inputs of some twins."""
        made = threads.submit(self.others.make, self.lanes[0].base)

        def prepare(lane: Lane, pair: Pair) -> None:
            made.result()
            lane.prepare(pair)

        first = [self.pairs[number] for number in self._light_last[:twins]]
        return [made, *(threads.submit(prepare, *both) for both in zip(self.lanes, first, strict=False))]

    def _side_by_side(self, compare: Callable[[Lane, Pair], Tallies], tallies: Tallies) -> None:
        """Each lane in a thread: DuckDB works without Python's lock. What is found is as of one lane."""
        name_of = {number: self.pairs[number].name for number in self._light_last}
        own = [[number for number, name in name_of.items() if name in lane.ahead] for lane in self.lanes]
        waiting, found = iter([number for number in name_of if number not in chain(*own)]), dict[int, Tallies]()

        def run(lane: Lane, own: Sequence[int]) -> None:
            for number in chain(own, waiting):  # what one lane takes no other does
                found[number] = compare(lane, self.pairs[number])

        with ThreadPoolExecutor(len(self.lanes)) as threads:
            list(threads.map(run, self.lanes, own))
        for number in range(len(self.pairs)):
            tallies.add(found[number].of)

    @property
    def _checks(self) -> Iterator[Exposed]:
        """What is compared, in every pair."""
        return (exposed for pair in self.pairs for exposed, _ in pair.checks)

    def _count(self, broken: Collection[str], tallies: Tallies) -> None:
        """How many rows of the base there are to compare; those of one channel are among them."""
        for exposed in self._checks:
            if exposed.relation not in broken and exposed.channel is None and exposed not in tallies[exposed].rows:
                with contextlib.suppress(duckdb.Error):  # not as exports read it: said where it is compared
                    found = self.con.execute(f"select count(*) from ({exposed.query(self.base)})").fetchall()
                    tallies[exposed].rows[exposed] = int(found[0][0])

    def _strays(self, project: Project) -> list[str]:
        """Marts that belong to no segment of policy: nobody can say for what purpose they are."""
        known = {f"marts.{name}" for audience in self.audiences for name in audience.segments}
        return [model.name for model in project.models if model.layer == "marts" and model.name not in known]

    def _run_base(self, project: Project, tallies: Tallies) -> tuple[Plan, set[str]]:
        """Runs the models over the base world; which exposed relations there are not, or cannot be made."""
        wanted = {exposed.relation for exposed in self._checks}
        told_by = [name for name in IDENTIFIED if name in project]
        broken = {name for name in wanted if name not in project}
        for name in sorted(broken):
            self._fail(name, not_exposed(name), tallies)
        while True:
            open_ones = sorted(wanted - broken)
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
                self._fail(name, not_run(failed, name), tallies)
            broken.update(hit)

    def _fail(self, relation: str, what: Failure, tallies: Tallies) -> None:
        for exposed in self._checks:
            if exposed.relation == relation and what not in tallies[exposed].failures:
                tallies[exposed].failures.append(what)


def _made_from(project: Project, name: str) -> set[str]:
    found: set[str] = set()
    open_ones = [name]
    while open_ones:
        one = open_ones.pop()
        if one not in found and one in project:
            found.add(one)
            open_ones.extend(project[one].reads)
    return found
