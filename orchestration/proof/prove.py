"""Runs the parts of the proof that are asked for, on a home as it is and a policy as it is now: static, then twins, and
beside them the search of files, which looks at other things and mostly works without Python's lock.

Not here: what each part proves (`static.py`, `twins/`, `canaries.py`), and how it is told (`commands.py`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from orchestration.policy.loader import policy_hash
from orchestration.proof.canaries import SAMPLE, CanarySearch
from orchestration.proof.evidence import Proof
from orchestration.proof.verdict import Part, Verdict
from orchestration.retention.respond import Site
from orchestration.warehouse.publish import Published, last_in_force

if TYPE_CHECKING:  # else imported where they are used: the search of files begins meanwhile
    from orchestration.proof.project import Project

Say = Callable[[str], None]
Result = TypeVar("Result")
ALL: tuple[Part, ...] = ("static", "twins", "canaries")


@dataclass(frozen=True)
class Asked:
    """Which parts, from which seed, on a sample or on everybody; further folders for the canaries."""

    parts: tuple[Part, ...] = ALL
    seed: int = 1
    is_full: bool = False
    also: tuple[Path, ...] = ()


def prove(site: Site, policy_dir: Path, asked: Asked, *, now: datetime, say: Say = lambda _: None) -> Proof:
    """Raises AssentError where a part cannot be run at all; what is not proved is a verdict."""
    with site.home.lock():
        return _Run(site, policy_dir, asked, now, say).proof()


@dataclass
class _Run:
    """One run of the parts; the home's lock is held."""

    site: Site
    policy_dir: Path
    asked: Asked
    now: datetime
    say: Say
    seconds: dict[str, float] = field(default_factory=dict)
    searched: dict[str, Any] = field(default_factory=dict)
    listed: Event = field(default_factory=Event)  # the search knows its files

    def proof(self) -> Proof:
        start = time.monotonic()
        found: dict[Part, Sequence[Verdict]] = {}
        with ExitStack() as stack:
            searched = self._begin_search(stack) if "canaries" in self.asked.parts else None
            if {"static", "twins"} & {*self.asked.parts}:
                self.say("project    the policy's models, as dbt compiles them")
                self._timed("compile", lambda: self.project)  # here, so that no part is charged for it
            if "static" in self.asked.parts:
                found["static"] = self._timed("static", self._static)
            if searched:
                self.listed.wait()  # twins may write beside the files, and are not searched
            if "twins" in self.asked.parts:
                found["twins"] = self._timed("twins", self._twins)
            if searched:
                found["canaries"] = searched.result()
        self.seconds["all"] = round(time.monotonic() - start, 3)
        return Proof(
            generation=self._generation(),
            policy_hash=policy_hash(self.site.policy, self.policy_dir),
            sql_hash=self._sql_hash() if "compile" in self.seconds else None,
            verdicts=tuple(verdict for verdicts in found.values() for verdict in verdicts),
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

        self.say("static     every path from a personal source to what is exposed")
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

    def _begin_search(self, stack: ExitStack) -> Future[Sequence[Verdict]]:
        """In a thread of its own. Where another part fails it is stopped, and its controls go."""
        sample = None if self.asked.is_full else SAMPLE
        search = CanarySearch(self.site, seed=self.asked.seed, sample=sample, also=self.asked.also)
        thread = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(search.stop)
        return thread.submit(self._timed, "canaries", lambda: self._canaries(search))

    def _canaries(self, search: CanarySearch) -> Sequence[Verdict]:
        try:
            with search:
                self.listed.set()
                found = search.run(lambda line: self.say(f"canaries   {line}"))
        finally:
            self.listed.set()  # whoever waits must not wait for what failed
        looked_for = {
            kind: {"looked_for": number, "known": found.known[kind]} for kind, number in found.looked_for.items()
        }
        self.searched = {
            "files": sum(found.files.values()),
            "bytes": found.bytes,
            "looked_for": looked_for,
            "only_bytes": found.unreadable,
            "not_searched": found.not_searched,
            "controls": {"planted": found.control_planted, "missed": len(found.control_missed)},
        }
        return found.verdicts()
