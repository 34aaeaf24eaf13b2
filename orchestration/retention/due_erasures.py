"""Carries out the erasures that are due, all of them step by step together, and says how far each is.

"Physically erased" is noted for a request only when each of its steps is done, across kills and builds. Not here: what
a step does (`erasure.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError
from orchestration.identity.keys import SubjectRegistry
from orchestration.retention.copies import note_expired
from orchestration.retention.erasure import Counts, Erasure, WaitingError
from orchestration.retention.requests import Person, Request, RequestLog
from orchestration.retention.respond import Site
from orchestration.retention.steps import Steps
from orchestration.retention.subject import is_held, sources_holding

KIND = "erasure"
People = dict[str, Person]  # by request


@dataclass(frozen=True)
class Erased:
    """How far one request is after this run."""

    request: Request
    is_done: bool
    pending: tuple[str, ...]
    why: str  # it waits


def erase_due(site: Site, *, now: datetime, only: str | None = None, erase_url: str | None = None) -> list[Erased]:
    """Goes on with every erasure whose time to undo is over, and notes of which the older copies are gone. Held back: a
    person or source under legal hold."""
    home = site.home
    with home.lock(), SubjectRegistry(home, site.keys) as registry, RequestLog(home, registry) as log:
        due = [one for one in log.all() if is_due(one, now) and only in (None, one.id)]
        with Steps(home) as steps:
            run = _Run(site, registry, log, steps, now, erase_url)
            done = run.erase(due) if due else []
        return done + [Erased(one, True, (), "") for one in note_expired(home, site.policy, log, now=now)]


def is_due(request: Request, now: datetime) -> bool:
    is_confirmed = request.kind == "erasure" and request.state == "logically_erased"
    return is_confirmed and request.undo_until is not None and now >= request.undo_until


class _Run:
    """One run over the requests that are due."""

    def __init__(
        self,
        site: Site,
        registry: SubjectRegistry,
        log: RequestLog,
        steps: Steps,
        now: datetime,
        erase_url: str | None,
    ) -> None:
        self._site, self._registry, self._log, self._steps = site, registry, log, steps
        self._now, self._erase_url = now, erase_url
        self._why: dict[str, str] = {}  # a request waits

    def erase(self, due: Sequence[Request]) -> list[Erased]:
        people = {one.id: self._person(one.id) for one in due}
        names = list(Erasure(self._site, {}, self._now).steps)
        for name, person in people.items():
            if not self._steps.is_begun(name) and (held := self._held(person)):
                self._why[name] = f"deferred by legal hold on {', '.join(held)}; use stays blocked"
            else:
                self._steps.begin(name, KIND, names, self._now)
        for step in names:
            waiting = {n: p for n, p in people.items() if n not in self._why and step in self._steps.pending(n)}
            if waiting:
                self._step(step, waiting)
        return [self._ended(one, names) for one in due]

    def _step(self, step: str, people: People) -> None:
        """All at once; where that waits for something, one by one, so that only those wait whom it is about."""
        try:
            counts = self._counted(step, people)
        except WaitingError as waiting:
            if len(people) == 1:
                self._why |= dict.fromkeys(people, str(waiting))
                return
            counts = None
        if counts is None:
            for name, person in people.items():
                self._step(step, {name: person})
            return
        shared = {"requests": len(people)} if len(people) > 1 else {}
        for name in people:
            self._steps.done(name, step, {**counts, **shared}, self._now)

    def _counted(self, step: str, people: Mapping[str, Person]) -> Counts:
        failed = ""
        try:
            return Erasure(self._site, people, self._now, erase_url=self._erase_url).steps[step]()
        except OSError as error:
            failed = error.strerror or type(error).__name__
        raise AssentError(
            f"the step {step} could not be done ({failed})",
            where=", ".join(people),
            remedy="Make room, or mend what the system says; `assent erase` goes on from there",
        )

    def _person(self, name: str) -> Person:
        person = self._log.person(name)
        if not person.refs:  # kept with the tombstone: the registry will not know them after its step
            person = replace(person, refs=tuple(self._registry.refs_of(person.tokens)))
            self._log.reseal(name, person)
        return person

    def _held(self, person: Person) -> list[str]:
        """What defers an erasure: sources under legal hold with something of the person, and the person's own."""
        holds = self._site.policy.retention.legal_holds
        held = sources_holding(self._site.home, holds, person) if holds else []
        with open_ledger(self._site.home, self._site.keys, self._site.ledger_at) as (ledger, _):
            rows = ledger.subject_rows(person.refs) if person.refs else []
        return [*held, *(["the person"] if is_held(rows) else [])]

    def _ended(self, request: Request, names: Sequence[str]) -> Erased:
        name = request.id
        if name in self._why:
            pending = self._steps.pending(name) if self._steps.is_begun(name) else names
            return Erased(request, False, tuple(pending), self._why[name])
        told = request.reached("logically_erased")
        recipients = told.evidence.get("recipients", []) if told is not None else []
        evidence = {"steps": self._steps.counts(name), "recipients": recipients}
        self._log.note(name, "physically_erased", self._now, evidence)
        return Erased(self._log.get(name), True, (), "")
