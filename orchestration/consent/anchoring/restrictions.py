"""What of the ledger a restore must never lose: which records restrict, and which of them a ledger lacks.

Not here: how they are kept (`journal.py`)."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from orchestration.consent.anchoring.signed_heads import Head
from orchestration.consent.database.store import raw_chunks
from orchestration.consent.detail import DetailSealer
from orchestration.consent.models import COLUMNS, Subject
from orchestration.identity.keys import SubjectRegistry
from orchestration.policy.vocabulary import vocabulary

NAMES = (*COLUMNS, "payload")
Row = Mapping[str, Any]  # by the ledger's columns


@dataclass(frozen=True)
class Restriction:
    """A record of the ledger, with what its detail says of its body and who it is about; these two may be erased."""

    row: Row
    body: str | None  # keyed hash of the record as it was delivered
    subjects: Mapping[str, Subject]  # by subject_ref; somebody who is erased is absent


@dataclass(frozen=True)
class Entry:
    """What one transaction of the ledger holds that restricts."""

    after: Head  # of the ledger before it
    head: Head  # that it leads to
    restrictions: tuple[Restriction, ...]


def restricts(row: Row) -> bool:
    """Whether a record belongs in the journal: all that does not plainly permit. A grant or a contract with an end
    restricts the one without that it replaces."""
    plain = {
        "consent": row["decision"] in _permitting() and row["until_at"] is None,
        "permission": row["state"] == "open",
        # that an erasure was undone is kept too: a replay would else destroy who was spared
        "status": row["state"] == "off" and row["fact"] != "erased",
        "contract": row["until_at"] is None,
        "feed": row["state"] == "complete",
    }
    return not plain.get(row["type"], False)


@functools.cache
def _permitting() -> frozenset[str]:
    return frozenset(vocabulary().names("decisions")) - vocabulary().restricting


def refs_of(row: Row) -> set[str]:
    """Every subject_ref that a record names."""
    return {ref for ref in (row["subject_ref"], row["object_ref"]) if ref is not None}


# Most records of most deliveries; `restricts` says so too, but then they have been read back.
_PLAIN_GRANT = "e.type = 'consent' AND coalesce(e.decision, '') = 'grant' AND e.until_at IS NULL"


def restrictions_since(
    connection: Connection, seq: int, sealer: DetailSealer, registry: SubjectRegistry
) -> list[Restriction]:
    """What restricts of the records after `seq`, as they are on record; also those of the transaction under way."""
    columns = ", ".join(f"e.{name}" for name in COLUMNS)
    sql = f"SELECT {columns}, d.payload FROM events e LEFT JOIN details d ON d.seq = e.seq WHERE e.seq > {seq:d}"
    chunks = raw_chunks(connection, f"{sql} AND NOT ({_PLAIN_GRANT}) ORDER BY e.seq")
    found = [row for rows in chunks for values in rows if restricts(row := dict(zip(NAMES, values, strict=True)))]
    subjects = {ref: Subject(*row) for ref, row in registry.named(set().union(*map(refs_of, found))).items()}
    return [
        Restriction(row, _body(sealer, row), {ref: subjects[ref] for ref in refs_of(row) & subjects.keys()})
        for row in found
    ]


def _body(sealer: DetailSealer, row: Row) -> str | None:
    detail = row["payload"] and sealer.open(row["event_key"], row["payload"], row["detail_commitment"])
    return detail.body if detail else None


def missing(entries: Iterable[Entry], known: Collection[str]) -> Iterator[Restriction]:
    """What a restore appends: every journaled record whose event key is not `known`, once, in the journal's order."""
    told = set[str]()
    for restriction in (restriction for entry in entries for restriction in entry.restrictions):
        key = restriction.row["event_key"]
        if key not in known and key not in told:
            told.add(key)
            yield restriction
