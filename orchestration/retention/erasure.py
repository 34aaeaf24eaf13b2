"""Erases people physically: every place, one after the other; each step can be done again after a kill.

The ledger's chain keeps its records, which name nobody any more; the last step waits for a build without the person.
Not here: which steps are done (`due_erasures.py`), who is meant (`subject.py`), the proof by a search (`search.py`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
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
from orchestration.retention.generations import drop_generations, drop_working_copies, holds_any
from orchestration.retention.lake_traces import batches_of
from orchestration.retention.outbox import retract_exports
from orchestration.retention.requests import Person
from orchestration.retention.respond import Site
from orchestration.retention.rewrite import erase_tokens
from orchestration.retention.sealed_files import drop_archived, drop_landed, strip_quarantine
from orchestration.retention.suppressions import Suppressions
from orchestration.retention.traces import Traces
from orchestration.warehouse.publish import published

Counts = Mapping[str, int]


class WaitingError(AssentError):
    """A step cannot be done yet; what was done stays done."""


class Erasure:
    """The steps for some people at once, by their requests: one pass over a place costs the same for one as for many.
    Each is idempotent: what it removed is not there the second time."""

    def __init__(
        self, site: Site, people: Mapping[str, Person], now: datetime, *, erase_url: str | None = None
    ) -> None:
        self.site, self.people, self.now = site, people, now
        self.home, self.keys = site.home, site.keys
        self.tokens = sorted({token for person in people.values() for token in person.tokens})
        self.refs = sorted({ref for person in people.values() for ref in person.refs})
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
        pairs = {(one.kind, one.issuer) for person in self.people.values() for one in person.identifiers}
        return Traces(self.site.policy, self.keys, wanted.intersection, [*plain, *hashed], pairs)

    def suppress(self) -> Counts:
        with open_ledger(self.home, self.keys, self.site.ledger_at):  # refuses a ledger that its anchor does not know
            anchor = Anchor(self.home, self.keys, self.site.ledger_at)
            return {"identifiers": Suppressions(self.home, self.keys, anchor).add(self.tokens)}

    def outbox(self) -> Counts:
        recalled = sum(recall_suppression_files(self.home, name) for name in self.people)
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
                remedy="Run `assent run`: it publishes one without them; then `assent erase` again",
            )
        return {"files": drop_generations(self.home, self.tokens)}
