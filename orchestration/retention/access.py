"""Everything that is known about one person, for them to read (R-30, R-31, R-98): one JSON and one page.

Sources, touchpoints, contacts, consent with its history, purposes and segments and why, deliveries and to whom, how
long each thing is kept. No token comes out, and nothing of others: what a shared identifier did is not told. Not here:
the page (`access_page.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.consent.answers.state import history_of
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import Subject
from orchestration.evidence.person import Person as Explanation
from orchestration.evidence.then import Asked, explain_published
from orchestration.exports import deliveries
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import lake_files
from orchestration.policy.schema import CategoryClass, Source
from orchestration.policy.tables import retention_days
from orchestration.retention.requests import Named, Person
from orchestration.retention.respond import Site
from orchestration.retention.strip import further_columns
from orchestration.warehouse.publish import published

INTERNAL = frozenset(
    ("touchpoint_key", "body_hash", "batch", "subject_token", "subject_kind", "subject_issuer", "business_day")
)
KEPT_HASHED = {"kept_as": "keyed_hash"}  # of an identifier in a row: nobody can read it back
Row = dict[str, Any]


@dataclass(frozen=True)
class Access:
    """The whole answer; `explanation` is None where nothing is published."""

    asked_at: str
    identifiers: tuple[Row, ...]
    sources: tuple[Row, ...]
    touchpoints: tuple[Row, ...]
    consents: tuple[Row, ...]
    recipients: tuple[Row, ...]
    explanation: Explanation | None

    def as_json(self) -> dict[str, Any]:
        return {"format": 1, **asdict(self)}


def gather(site: Site, person: Person, *, now: datetime) -> Access:
    """All that the home holds of `person` now."""
    touchpoints = [row for source in site.policy.sources.sources for row in _touchpoints(site, source, person)]
    with open_ledger(site.home, site.keys, site.ledger_at) as (ledger, registry):
        consents = history_of(site.home, site.policy, ledger, registry.refs_of(person.tokens))
    return Access(
        asked_at=now.astimezone(UTC).isoformat(),
        identifiers=tuple(_identifiers(site, person)),
        sources=tuple(_sources(site, {row["source"] for row in touchpoints})),
        touchpoints=tuple(sorted(touchpoints, key=lambda row: (row["occurred_at"], row["source"]))),
        consents=tuple(consents),
        recipients=tuple(_recipients(site, person.tokens)),
        explanation=_explanation(site, person.asked, now),
    )


def _explanation(site: Site, asked: Named, now: datetime) -> Explanation | None:
    if published(site.home) is None:
        return None
    subject = Subject(asked.token, asked.kind, asked.issuer)
    return explain_published(Asked(site.home, site.policy, site.keys, site.ledger_at, "", None, now, subject))


def _identifiers(site: Site, person: Person) -> Iterator[Row]:
    """Each with its value where the vault keeps it: of others only a keyed hash is kept, which nobody can read back."""
    with Vault(site.home, site.keys) as vault:
        plain = vault.get(person.tokens)
    for one in person.identifiers:
        yield {"kind": one.kind, "issuer": one.issuer, "value": plain.get(one.token), "is_shared": False}
    for one in person.shared:
        yield {"kind": one.kind, "issuer": one.issuer, "value": None, "is_shared": True}


def _touchpoints(site: Site, source: Source, person: Person) -> Iterator[Row]:
    """What the person did at one source, field by field; a token says only that an identifier was there."""
    wanted = pa.array(person.tokens, pa.string())
    for path in lake_files(site.home, source.name):
        file = pq.ParquetFile(path)
        if not pc.any(pc.is_in(file.read(columns=["subject_token"])["subject_token"], value_set=wanted)).as_py():
            continue
        table = file.read()
        tokens = set(further_columns(file.schema_arrow))
        for row in table.filter(pc.is_in(table["subject_token"], value_set=wanted)).to_pylist():
            fields = {name: _shown(value) for name, value in row.items() if name not in INTERNAL and value is not None}
            yield {name: KEPT_HASHED if name in tokens else value for name, value in fields.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _sources(site: Site, names: set[str]) -> Iterator[Row]:
    """Where it came from, on what basis, and how long each category is kept at the longest."""
    for source in site.policy.sources.sources:
        if source.name in names:
            categories = sorted({event.category for event in source.events})
            yield {
                "source": source.name,
                "controller": source.controller,
                "provenance": source.provenance,
                "lawful_basis": source.lawful_basis,
                "kept_days": {category: _longest(site, category) for category in categories},
            }


def _longest(site: Site, category: CategoryClass) -> int | None:
    days = [retention_days(site.policy, category, purpose.name) for purpose in site.policy.purposes.purposes]
    known = [number for number in days if number is not None]
    return max(known) if known else None


def _recipients(site: Site, tokens: Sequence[str]) -> Iterator[Row]:
    """Who received the person in which segment, and when they were told to remove them."""
    known = {destination.name: destination for destination in site.policy.destinations.destinations}
    logs: tuple[deliveries.Log, ...] = ("deliveries", "removals")
    for what in logs:
        log = deliveries.log(site.home, what)
        rows = log.filter(pc.is_in(log["token"], value_set=pa.array(list(tokens), pa.string()))).to_pylist()
        for row in sorted(rows, key=lambda row: (row["delivered_at"], row["destination"], row["segment"])):
            place = known.get(row["destination"])
            yield {
                "what": what,
                "at": _shown(row["delivered_at"]),
                "segment": row["segment"],
                "destination": row["destination"],
                "legal_entity": None if place is None else place.legal_entity,
                "role": None if place is None else place.role,
                "country": None if place is None else place.country,
            }
