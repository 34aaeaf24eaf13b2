"""Erases people physically: every place that `STEPS` names, one after the other, resumable after a kill anywhere.

"Physically erased" is said only when every step is done, and the last one waits for a build without the person. The
ledger's chain keeps its records, which name nobody any more. Not here: who is meant (`subject.py`), the proof by a
search of all bytes (`search.py`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import pyarrow as pa

from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.database import sqlite
from orchestration.consent.database.migrate import open_engine
from orchestration.consent.database.store import erase_details, writing
from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError
from orchestration.exports.suppression import recall_suppression_files
from orchestration.identity.keys import SubjectRegistry
from orchestration.identity.vault import Vault
from orchestration.retention.copies import note_expired
from orchestration.retention.generations import drop_generations, drop_working_copies, holds_any
from orchestration.retention.lake_traces import batches_of
from orchestration.retention.outbox import retract_exports
from orchestration.retention.requests import Person, Request, RequestLog
from orchestration.retention.respond import Site
from orchestration.retention.rewrite import erase_tokens
from orchestration.retention.sealed_files import drop_archived, drop_landed, strip_quarantine
from orchestration.retention.steps import Steps
from orchestration.retention.subject import count_kept, legal_holds
from orchestration.retention.suppressions import Suppressions
from orchestration.retention.traces import Traces
from orchestration.warehouse.publish import published

KIND = "erasure"
Counts = Mapping[str, int]


class WaitingError(AssentError):
    """A step cannot be done yet; what was done stays done."""


@dataclass(frozen=True)
class Erased:
    """How far one request is after this run."""

    request: Request
    is_done: bool
    pending: tuple[str, ...]
    why: str  # it waits


class Erasure:
    """The steps for one person. Each is idempotent: what it removed is not there the second time."""

    def __init__(self, site: Site, name: str, person: Person, now: datetime, *, erase_url: str | None = None) -> None:
        self.site, self.name, self.person, self.now = site, name, person, now
        self.home, self.keys, self.tokens, self.refs = site.home, site.keys, person.tokens, person.refs
        self._erase_url = erase_url or site.ledger_at.url

    @property
    def steps(self) -> dict[str, Callable[[], Counts]]:
        """In this order: first nothing comes in again; contacts are needed for exports, the lake for the archive, and
        the registry for the ledger, so each goes after what needs it."""
        return {
            "suppress": self.suppress,
            "outbox": self.outbox,
            "quarantine": self.quarantine,
            "archive": self.archive,
            "landing": self.landing,
            "vault": self.vault,
            "ledger": self.ledger,
            "journal": self.journal,
            "lake": self.lake,
            "registry": self.registry,
            "working": self.working,
            "generations": self.generations,
        }

    @cached_property
    def traces(self) -> Traces:
        wanted = set(self.tokens)
        with Vault(self.home, self.keys) as vault:
            plain = list(vault.get(self.tokens).values())
        hashed = [hashlib.sha256(value.encode()).hexdigest() for value in plain]  # as some destinations want contacts
        pairs = {(one.kind, one.issuer) for one in self.person.identifiers}
        return Traces(self.site.policy, self.keys, wanted.intersection, [*plain, *hashed], pairs)

    def suppress(self) -> Counts:
        with open_ledger(self.home, self.keys, self.site.ledger_at):  # refuses a ledger that its anchor does not know
            anchor = Anchor(self.home, self.keys, self.site.ledger_at)
            return {"identifiers": Suppressions(self.home, self.keys, anchor).add(self.tokens)}

    def outbox(self) -> Counts:
        recalled = recall_suppression_files(self.home, self.name)
        return {"suppression_files": recalled, "exports": retract_exports(self.home, self.traces)}

    def quarantine(self) -> Counts:
        lines, batches = strip_quarantine(self.home, self.keys, self.traces)
        return {"lines": lines, "files": len(batches)}

    def archive(self) -> Counts:
        batches = batches_of(self.site, self.tokens, self.refs)
        return {"files": drop_archived(self.home, self.keys, self.traces, batches)}

    def landing(self) -> Counts:
        landed = drop_landed(self.home, self.site.policy, self.traces)
        if landed.waiting:
            raise WaitingError(
                f"{len(landed.waiting)} landing files that were not taken in name the person",
                where=", ".join(landed.waiting[:5]),
                remedy="Run `assent run`, or take refused files away, then `assent erase` again",
            )
        return {"files": landed.dropped}

    def vault(self) -> Counts:
        with Vault(self.home, self.keys) as vault:
            return {"contacts": vault.erase(self.tokens)}

    def ledger(self) -> Counts:
        """Details and their salts go: the commitments in the chain then say nothing, and it still verifies. On
        PostgreSQL the rows are deleted; its own dead rows, log and backups keep them, sealed, until it cleans up."""
        engine = open_engine(self._erase_url or self.home.ledger_db)
        try:
            with writing(engine) as connection:
                erase_details(connection, self.refs)
            if engine.dialect.name == "sqlite":
                with engine.connect() as connection:
                    sqlite.checkpoint(connection)
        finally:
            engine.dispose()
        return {"subjects": len(self.refs)}

    def journal(self) -> Counts:
        anchor = Anchor(self.home, self.keys, self.site.ledger_at)
        with SubjectRegistry(self.home, self.keys) as registry, anchor.writing(registry, self.now):
            return {"entries": anchor.journal.forget(self.refs)}

    def lake(self) -> Counts:
        return erase_tokens(self.home, pa.array(self.tokens, pa.string()), now=self.now).counts()

    def registry(self) -> Counts:
        with SubjectRegistry(self.home, self.keys) as registry:
            return {"subjects": registry.forget(self.tokens)}

    def working(self) -> Counts:
        return {"files": drop_working_copies(self.home)}

    def generations(self) -> Counts:
        if published(self.home) is not None and holds_any(self.home, self.tokens):
            raise WaitingError(
                "the published generation still holds the person",
                where=self.name,
                remedy="Run `assent run`: it publishes one without them; then `assent erase` again",
            )
        return {"files": drop_generations(self.home, self.tokens)}


def _held(site: Site, registry: SubjectRegistry, person: Person) -> list[str]:
    with open_ledger(site.home, site.keys, site.ledger_at) as (ledger, _):
        kept = count_kept(site.home, site.policy, site.keys, ledger, registry, person)
        return legal_holds(ledger.subject_rows(person.refs) if person.refs else [], kept)


def _done(erasure: Erasure, step: str) -> Counts:
    failed = ""
    try:
        return erasure.steps[step]()
    except OSError as error:
        failed = error.strerror or type(error).__name__
    raise AssentError(
        f"the step {step} could not be done ({failed})",
        where=erasure.name,
        remedy="Make room, or mend what the system says; `assent erase` goes on from there",
    )


def erase_due(site: Site, *, now: datetime, only: str | None = None, erase_url: str | None = None) -> list[Erased]:
    """Goes on with every erasure whose time to undo is over, and notes of which the older copies are gone. Held back: a
    person or source under legal hold."""
    home = site.home
    with home.lock(), SubjectRegistry(home, site.keys) as registry, RequestLog(home, registry) as log:
        due = [one for one in log.all() if is_due(one, now) and only in (None, one.id)]
        done = [_erase(site, registry, log, one, now, erase_url) for one in due]
        return done + [Erased(one, True, (), "") for one in note_expired(home, site.policy, log, now=now)]


def is_due(request: Request, now: datetime) -> bool:
    is_confirmed = request.kind == "erasure" and request.state == "logically_erased"
    return is_confirmed and request.undo_until is not None and now >= request.undo_until


def _erase(
    site: Site, registry: SubjectRegistry, log: RequestLog, request: Request, now: datetime, erase_url: str | None
) -> Erased:
    person = log.person(request.id)
    if not person.refs:  # kept with the tombstone: the registry will not know them after its step
        person = replace(person, refs=tuple(registry.refs_of(person.tokens)))
        log.reseal(request.id, person)
    erasure = Erasure(site, request.id, person, now, erase_url=erase_url)
    with Steps(site.home) as steps:
        if (held := _held(site, registry, person)) and not steps.is_begun(request.id):
            why = f"deferred by legal hold on {', '.join(held)}; use stays blocked"
            return Erased(request, False, tuple(erasure.steps), why)
        steps.begin(request.id, KIND, list(erasure.steps), now)
        for step in steps.pending(request.id):
            try:
                counts = _done(erasure, step)
            except WaitingError as waiting:
                return Erased(request, False, tuple(steps.pending(request.id)), str(waiting))
            steps.done(request.id, step, counts, now)
        told = request.reached("logically_erased")
        recipients = told.evidence.get("recipients", []) if told is not None else []
        log.note(request.id, "physically_erased", now, {"steps": steps.counts(request.id), "recipients": recipients})
    return Erased(log.get(request.id), True, (), "")
