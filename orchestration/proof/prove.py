"""Runs the parts of the proof that are asked for, on a home as it is and a policy as it is now: static, then twins; and
beside twins, in processes of their own, the search of files and, where it can be forked, the static proof.

Not here: what each part proves (`static.py`, `twins/`, `canaries.py`), and how it is told (`commands.py`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestration.policy.loader import policy_hash
from orchestration.proof.beside import SearchBeside, StaticBeside
from orchestration.proof.evidence import Proof
from orchestration.proof.verdict import PARTS, Part, Verdict
from orchestration.retention.respond import Site
from orchestration.warehouse.publish import Published, last_in_force

if TYPE_CHECKING:  # else imported where they are used: the search of files begins meanwhile
    from orchestration.proof.project import Project

Say = Callable[[str], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Asked:
    """Which parts, from which seed, on a sample or on everybody; further folders for the canaries."""

    parts: tuple[Part, ...] = PARTS
    seed: int = 1
    is_full: bool = False
    also: tuple[Path, ...] = ()


def prove(
    site: Site,
    policy_dir: Path,
    asked: Asked,
    *,
    now: datetime,
    say: Say = lambda _: None,
    search: SearchBeside | None = None,
    static: StaticBeside | None = None,
) -> Proof:
    """Raises AssentError where a part cannot be run at all; what is not proved is a verdict. `search`, `static`: the
    processes for the search of files and the static proof, where they were begun before."""
    with site.home.lock():
        return _Run(site, policy_dir, asked, now, say, search, static).proof()


@dataclass
class _Run:
    """One run of the parts; the home's lock is held."""

    site: Site
    policy_dir: Path
    asked: Asked
    now: datetime
    say: Say
    search: SearchBeside | None
    static: StaticBeside | None
    seconds: dict[str, float] = field(default_factory=dict)
    searched: dict[str, Any] = field(default_factory=dict)

    def proof(self) -> Proof:
        start = time.monotonic()
        found: dict[Part, Sequence[Verdict]] = {}
        with ExitStack() as stack:
            search = self._begin_search(stack) if self.is_beside else None
            if {"static", "twins"} & {*self.asked.parts}:
                self.say("project    the policy's models, as dbt compiles them")
                self._timed("compile", lambda: self.project)  # here, so that no part is charged for it
            if "static" in self.asked.parts:
                self.say("static     every path from a personal source to what is exposed")
                if self.static:
                    stack.enter_context(self.static).begin(self.project, self.site.policy, as_of=self.as_of)
                else:
                    found["static"] = self._timed("static", self._static)
            if search:
                search.wait_for_list()  # twins may write beside the files, and are not searched
            if "twins" in self.asked.parts:
                found["twins"] = self._timed("twins", self._twins)
            if "static" in self.asked.parts and self.static:
                found["static"], self.seconds["static"] = self.static.result()
            if search:
                found["canaries"], self.searched, self.seconds["canaries"] = search.result()
            elif "canaries" in self.asked.parts:
                found["canaries"] = self._timed("canaries", self._canaries)
        self.seconds["all"] = round(time.monotonic() - start, 3)
        return Proof(
            generation=self._generation(),
            policy_hash=policy_hash(self.site.policy, self.policy_dir),
            sql_hash=self._sql_hash() if "compile" in self.seconds else None,
            verdicts=tuple(verdict for part in PARTS for verdict in found.get(part, ())),
            seconds=self.seconds,
            seed=self.asked.seed,
            is_full=self.asked.is_full,
            searched=self.searched,
        )

    def _timed(self, name: str, work: Callable[[], Result]) -> Result:
        start = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[name] = round(time.monotonic() - start, 3)

    def _generation(self) -> str | None:
        """The generation in force, where it was built by the policy that is proved."""
        is_its = self.in_force and self.in_force.policy_hash == policy_hash(self.site.policy, self.policy_dir)
        return self.in_force.generation if self.in_force and is_its else None

    @cached_property
    def in_force(self) -> Published | None:
        return last_in_force(self.site.home)

    @cached_property
    def as_of(self) -> datetime:
        """T of the generation in force; before the first, the time of now."""
        return self.now if self.in_force is None else self.in_force.as_of

    @cached_property
    def project(self) -> Project:
        from orchestration.proof.compiled import compiled_project

        return compiled_project(self.site.home, self.site.policy, self.policy_dir)

    def _sql_hash(self) -> str:
        from orchestration.proof.compiled import sql_hash

        return sql_hash(self.project)

    def _static(self) -> Sequence[Verdict]:
        from orchestration.proof.static import prove_statically

        return prove_statically(self.project, self.site.policy, as_of=self.as_of)

    def _twins(self) -> Sequence[Verdict]:
        from orchestration.proof.twins.prove import SAMPLE as PEOPLE
        from orchestration.proof.twins.prove import prove_by_twins
        from orchestration.warehouse.stage import stage_aside

        self.say("twins      staging inputs as they are now")
        people = None if self.asked.is_full else PEOPLE
        home, policy, at = self.site.home, self.site.policy, self.site.ledger_at
        with closing(
            stage_aside(home, policy, self.site.keys, as_of=self.as_of, policy_dir=self.policy_dir, ledger_at=at)
        ) as staged:
            self.say("twins      worlds that differ only in what is forbidden")
            return prove_by_twins(home, staged, self.project, policy, seed=self.asked.seed, people=people)

    @property
    def is_beside(self) -> bool:
        """Whether there is something for the search of files to work beside."""
        return "canaries" in self.asked.parts and len(self.asked.parts) > 1

    def _begin_search(self, stack: ExitStack) -> SearchBeside:
        search = stack.enter_context(self.search or SearchBeside())
        self.say("canaries   searching every file, beside the rest")
        search.begin(self.site, seed=self.asked.seed, is_full=self.asked.is_full, also=self.asked.also)
        return search

    def _canaries(self) -> Sequence[Verdict]:
        from orchestration.proof.canaries import CanarySearch

        asked = self.asked
        with CanarySearch(self.site, seed=asked.seed, is_full=asked.is_full, also=asked.also) as search:
            found = search.run(lambda line: self.say(f"canaries   {line}"))
        self.searched = found.as_json()
        return found.verdicts()
