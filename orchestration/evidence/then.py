"""Opens the generation that answers about one person: the one in force, one of then that is kept, or one rebuilt.

Not here: what it says (`person.py`), and how one is rebuilt (`rebuild.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from orchestration.consent.answers.state import known_through, read_identifier
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import Subject
from orchestration.errors import AssentError, VerifyError
from orchestration.evidence import rebuild
from orchestration.evidence.person import AtController, Basis, Person, explain_person
from orchestration.exports import deliveries
from orchestration.exports.cells import write_moment
from orchestration.exports.recheck import recheck
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.lake import link_files
from orchestration.policy.schema import Policy
from orchestration.settings import LedgerAt
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.publish import publications, published

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """Who is asked about, where, and of which segment (None: all)."""

    home: Home
    policy: Policy
    keys: Keys
    ledger_at: LedgerAt
    identifier: str
    segment: str | None
    now: datetime
    known: Subject | None = None  # who it is, where the identifier was read before

    @property
    def subject(self) -> Subject:
        return self.known or read_identifier(self.policy, self.keys, self.identifier)

    def require_segment(self, policy: Policy) -> None:
        if self.segment is not None and self.segment not in {s.name for s in policy.segments.segments}:
            raise AssentError("no such segment", where=self.segment, remedy="`assent segments` lists them")


def explain_published(asked: Asked) -> Person:
    """By the generation in force, and what the ledger has learned since."""
    current = published(asked.home)
    if current is None:
        raise AssentError("nothing is published", where=str(asked.home.root), remedy="Run `assent run` first")
    file = rebuild.kept_file(asked.home, current.generation)
    if file is None:
        raise AssentError("the published generation has no file", where=current.generation, remedy="Run `assent run`")
    return _explain(asked, asked.policy, file, "published", known_at=asked.now)


def explain_generation(
    asked: Asked, generation: str, *, known_at: datetime | None = None, say: Say
) -> tuple[Policy, Person]:
    """By a generation of then, with the policy of then; counted in what the ledger had learned by `known_at`."""
    file = rebuild.kept_file(asked.home, generation)
    if file is not None:
        policy = _policy_of(asked, generation)
        return policy, _explain(asked, policy, file, "kept", known_at=known_at)
    say(f"the file of {generation} is no longer kept: rebuilding it")
    parts = (asked.home, asked.policy, asked.keys, generation)
    with asked.home.lock(), rebuild.rebuilt(*parts, now=asked.now, ledger_at=asked.ledger_at, say=say) as made:
        if made.problems:
            say(f"{len(made.problems)} inputs of then are unexplained, see `assent replay --generation {generation}`")
        return made.then.policy, _explain(asked, made.then.policy, made.file, "replayed", known_at=known_at)


def _policy_of(asked: Asked, generation: str) -> Policy:
    """The policy of then; that of now where it is the same, or where none is archived."""
    current = published(asked.home)
    if current is not None and current.generation == generation:
        return asked.policy
    return rebuild.read_then(asked.home, asked.keys, generation).policy


def _explain(asked: Asked, policy: Policy, file: Path, source: str, *, known_at: datetime | None) -> Person:
    """The answer by a file. Raises AssentError for one of another version, which lacks what is asked of it."""
    asked.require_segment(policy)
    try:
        return _asked_of(asked, policy, file, source, known_at)
    except (duckdb.CatalogException, duckdb.BinderException):
        pass
    raise AssentError(
        "another version of Assent built this generation, and its file lacks what is asked of it",
        where=file.stem,
        remedy="Run `assent run` for one of this version, or ask with the version that built it",
    )


def _asked_of(asked: Asked, policy: Policy, file: Path, source: str, known_at: datetime | None) -> Person:
    with connect(asked.home, file, read_only=True) as con:
        build = _build_of(con)
        known = known_at or build["as_of"]
        with open_ledger(asked.home, asked.keys, asked.ledger_at) as (ledger, registry):
            until = None
            if source != "published":
                with ledger.reading() as connection:
                    until = max(known_through(connection, known), build["ledger_seq"])
            staged = ledger.staged(registry, policy, since=build["ledger_seq"], until=until)
        # links of the lake since the build: of then nobody knows any more when each came
        links = link_files(asked.home) if source == "published" else []
        recheck(con, staged, links=links, now=known)
        basis = Basis(
            generation=build["generation"],
            as_of=write_moment(build["as_of"]),
            policy_hash=build["policy_hash"],
            ledger_seq=build["ledger_seq"],
            known_at=write_moment(known),
            source=source,
        )
        return explain_person(
            con, asked.home, policy, asked.subject, basis, segment=asked.segment, outbox=source == "published"
        )


def _build_of(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    row = con.execute("select generation, as_of, policy_hash, ledger_seq from meta.builds").fetchone()
    assert row is not None
    return {"generation": row[0], "as_of": row[1].replace(tzinfo=UTC), "policy_hash": row[2], "ledger_seq": row[3]}


def explain_at(asked: Asked, at: datetime, *, say: Say) -> tuple[Policy, Person]:
    """On what basis they were in exports at `at`, or were not: by the generation whose exports were out then."""
    found = exported_at(asked.home, at)
    if found is None:
        raise AssentError("no export at or before this time is on record", where="--at", remedy="Choose a later time")
    generation, last_export = found
    failed = None
    try:
        policy, person = explain_generation(asked, generation, known_at=last_export, say=say)
    except VerifyError as error:
        failed = error
    if failed is not None:
        raise VerifyError(
            f"the exports of then were of generation {generation}; on what basis can no longer be said, since its file "
            f"is not kept and it cannot be rebuilt: {failed.what}",
            where="--at",
            remedy=failed.remedy,
        )
    return policy, replace(person, at=tuple(_until(one, write_moment(at)) for one in person.at))


def exported_at(home: Home, at: datetime) -> tuple[str, datetime] | None:
    """The generation whose exports were out at `at`, and when they last changed by then: what the ledger learned
    between that and `at` was in no file yet."""
    times = [(one.published_at, one.generation) for one in publications(home)]
    logs: tuple[deliveries.Log, ...] = ("deliveries", "removals")
    for log in logs:
        pairs = deliveries.log(home, log).group_by(["generation", "delivered_at"]).aggregate([]).to_pylist()
        times += [(pair["delivered_at"].replace(tzinfo=UTC), pair["generation"]) for pair in pairs]
    known = [(when, name) for when, name in times if when <= at]
    if not known:
        return None
    first: dict[str, datetime] = {}
    for when, name in sorted(known):
        first.setdefault(name, when)
    generation = max(first, key=lambda name: first[name])
    return generation, max(when for when, name in known if name == generation)


def _until(one: AtController, at: str) -> AtController:
    """Without what was delivered or removed later."""
    return replace(one, delivered=tuple(row for row in one.delivered if row["at"] <= at))
