"""Verifies a ledger against itself and, line by line, against its anchor. Not here: the published generation.

`verify_offline.py` does the same for the chain and the signed heads, with nothing of this project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.anchoring.restrictions import Entry
from orchestration.consent.anchoring.signed_heads import AnchorError, Checkpoint, Head, not_held
from orchestration.consent.database.store import raw_chunks
from orchestration.consent.ledger import Ledger
from orchestration.identity.keys import SubjectRegistry
from orchestration.verdict import Verdict


@dataclass(frozen=True)
class Found:
    """What of the wanted heads and event keys is on record."""

    head: Head
    hashes: dict[int, str]  # by the wanted sequences
    absent: frozenset[str]  # of the wanted event keys

    def holds(self, head: Head) -> bool:
        return head[0] == 0 or self.hashes.get(head[0]) == head[1]


def verify_whole(ledger: Ledger, registry: SubjectRegistry, anchor: Anchor) -> list[Verdict]:
    """Every verdict on the ledger. Reads all of it twice, and all of the anchor."""
    bad, gap, (seq, head) = ledger.verify(), ledger.append_only_gap, ledger.head()
    whole = f"{seq} records, head {head[:12]}" if bad is None else f"the chain breaks at record {bad}"
    return [
        Verdict("hash chain", bad is None, whole),
        Verdict("append-only", gap is None, gap or "UPDATE and DELETE are refused"),
        *_against_anchor(ledger, registry, anchor),
    ]


def _against_anchor(ledger: Ledger, registry: SubjectRegistry, anchor: Anchor) -> Iterator[Verdict]:
    try:
        if anchor.check(ledger.head(), ledger.holds, registry) is None:
            yield Verdict("anchor", True, "none yet; made with the first record")
            return
        lines, entries = list(anchor.heads.all()), list(anchor.entries())
    except AnchorError as error:
        yield Verdict("anchor", False, error.what)
        return
    found = _look_up(ledger, lines, entries)
    bad = not_held(lines, found.hashes)
    signed = f"{len(lines)} signed heads, the last at record {lines[-1].seq} of {lines[-1].recorded_at}"
    yield Verdict("anchor", bad is None, signed if bad is None else f"record {bad[0]} is not the one that was signed")
    yield _journal(entries, lines, found)


def _look_up(ledger: Ledger, lines: Iterable[Checkpoint], entries: Iterable[Entry]) -> Found:
    wanted = {line.seq for line in lines} | {line.departs_from[0] for line in lines if line.departs_from}
    wanted |= {head[0] for entry in entries for head in (entry.after, entry.head)}
    keys = {told.row["event_key"] for entry in entries for told in entry.restrictions}
    hashes: dict[int, str] = {}
    with ledger.reading() as connection:
        for rows in raw_chunks(connection, "SELECT seq, event_key, hash FROM events ORDER BY seq"):
            keys.difference_update(row[1] for row in rows)
            hashes.update((row[0], row[2]) for row in rows if row[0] in wanted)
    return Found(ledger.head(), hashes, frozenset(keys))


def _journal(entries: list[Entry], lines: list[Checkpoint], found: Found) -> Verdict:
    """A transaction that reached the ledger is there whole. One that was killed before its COMMIT may be absent: its
    receipt was never given. What a restore replayed is there, whatever became of its transaction."""
    replayed = max((line.journal.entries for line in lines if line.kind == "restore"), default=0)
    uncommitted = 0
    for number, entry in enumerate(entries, start=1):
        is_whole = not any(told.row["event_key"] in found.absent for told in entry.restrictions)
        must_be_whole = number <= replayed or found.holds(entry.head)
        if (must_be_whole and not is_whole) or not (must_be_whole or found.holds(entry.after)):
            return Verdict("journal", False, f"entry {number}, of record {entry.head[0]}, is not in the ledger")
        uncommitted += not is_whole
    told = f"{len(entries)} entries, all in the ledger"
    if uncommitted:
        told = f"{len(entries)} entries; {uncommitted} never committed and never acknowledged, a restore will add them"
    return Verdict("journal", True, told)
