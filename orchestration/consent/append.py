"""Appends records to the ledger, once each: what is known already, what conflicts, and the rows as they are written.

Not here: the transaction and its locks (`store.py`), what a conflict restricts (`conflicts.py`)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from orchestration.consent.chain import REPEATING, VARYING, Chain, Repeating
from orchestration.consent.conflicts import restrict
from orchestration.consent.database.store import head, insert_rows, known_rows
from orchestration.consent.detail import DetailSealer, refer
from orchestration.consent.models import COLUMNS, AppendReport, Record
from orchestration.consent.postings import Posting, encode_detail, posting_of

CHUNK = 10_000  # records at a time; SQLite takes 32,766 parameters in the look-up of known events
_LINKED = (*VARYING, *REPEATING, "hash")
_in_table = itemgetter(*(_LINKED.index(name) for name in COLUMNS))
_SEQ, _KEY, _COMMITTED = (COLUMNS.index(name) for name in ("seq", "event_key", "detail_commitment"))
GIVEN = (
    *("batch", "detail_commitment", "effective_at", "event_key", "object_ref", "subject_ref", "until_at"),
    "payload",
)  # what `Rows.add` takes besides what repeats


# An event that is on record, or about to be: the hash of its body (None when its detail is erased) and what it said,
# as the row that is stored, or as a posting.
Known = tuple[str | None, tuple[Any, ...]]
Conflict = tuple[int, str, str, Known]  # position among the postings, key, body, and what is known under that key


class Appender:
    """Appends within one write transaction: `refs` gives the subject_ref of each token, `at` is the store's clock."""

    def __init__(self, connection: Connection, sealer: DetailSealer, refs: Mapping[str, str], at: int) -> None:
        self._connection, self._sealer, self._refs, self._at = connection, sealer, refs, at
        self._chain = Chain()

    def append(self, records: Sequence[Record | Posting]) -> AppendReport:
        """A known id with the same body is a duplicate, with another body a conflict, which presumes denials."""
        total = AppendReport(0, 0, 0)
        for start in range(0, len(records), CHUNK):
            total += self._append_chunk([posting_of(r) for r in records[start : start + CHUNK]], start)
        return total

    def append_once(self, records: Sequence[Record | Posting]) -> AppendReport:
        """Records that Assent itself concludes: only the first with an id counts, whatever a later one says."""
        total = AppendReport(0, 0, 0)
        for start in range(0, len(records), CHUNK):
            total += self._append_once([posting_of(r) for r in records[start : start + CHUNK]])
        return total

    def _append_once(self, postings: Sequence[Posting]) -> AppendReport:
        keyed: dict[str, Posting] = {}
        for posting in postings:
            keyed.setdefault(self._sealer.event_key(posting.feed, posting.event_id), posting)
        known = self._known(list(keyed))
        new = {key: posting for key, posting in keyed.items() if key not in known}
        rows = self._rows()
        for key, posting in new.items():
            self._add(rows, posting, key, self._sealer.body(posting))
        rows.insert(self._connection)
        return AppendReport(0, 0, 0, sum(posting.type != "feed" for posting in new.values()))

    def _append_chunk(self, postings: Sequence[Posting], offset: int) -> AppendReport:
        sealer, rows, add = self._sealer, self._rows(), self._add
        keys = [sealer.event_key(posting.feed, posting.event_id) for posting in postings]
        known = self._known(keys)
        duplicates = 0
        conflicts: list[Conflict] = []
        for position, (posting, key) in enumerate(zip(postings, keys, strict=True)):
            body = sealer.body(posting)
            first = known.get(key)
            if first is None:
                add(rows, posting, key, body)
                known[key] = (body, posting)
            elif first[0] is None or first[0] == body:  # None: its detail is erased, so it cannot be compared
                duplicates += 1
            else:
                conflicts.append((position, key, body, first))
        rows.insert(self._connection)
        denials = self._deny(postings, conflicts, rows)
        positions = tuple(offset + position for position, *_ in conflicts)
        return AppendReport(len(rows.events), duplicates, len(conflicts), denials, positions)

    def _rows(self) -> Rows:
        return Rows(self._chain, *head(self._connection), self._at)

    def _add(self, rows: Rows, posting: Posting, key: str, body: str) -> None:
        repeating, event_id, subject, other, effective_at, until_at, batch, detail = posting
        subject_ref, object_ref = refer(subject, self._refs), refer(other, self._refs)
        payload, committed = self._sealer.seal(key, event_id, body, detail)
        rows.add(repeating, batch, committed, effective_at, key, object_ref, subject_ref, until_at, payload)

    def _known(self, event_keys: Sequence[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        for values in itertools.chain.from_iterable(known_rows(self._connection, event_keys)):
            body = None
            if values[-1] is not None:
                detail = self._sealer.open(values[_KEY], values[-1], values[_COMMITTED])
                body = detail.body if detail else ""  # altered detail equals no body: a conflict, never a no-op
            found[values[_KEY]] = (body, values[:-1])
        return found

    def _deny(self, postings: Sequence[Posting], conflicts: Sequence[Conflict], written: Rows) -> int:
        """Appends what the conflicts presume, each once. How many records that were."""
        wanted: dict[str, tuple[dict[str, Any], str, str, str]] = {}
        for position, key, body, (_, said) in conflicts:
            posting = postings[position]
            first, second = self._row(said), self._row(posting)
            detail = encode_detail({"conflict_of": str(first["seq"] or written.seq_of(key))})
            for number, row in enumerate(restrict(first, second, self._at)):
                denial_key = self._sealer.event_key("conflict", key, body, str(number))
                wanted[denial_key] = row, posting.event_id, body, detail
        there: set[str] = set()
        keys = list(wanted)
        for start in range(0, len(keys), CHUNK):
            there |= self._known(keys[start : start + CHUNK]).keys()
        rows = self._rows()
        for denial_key, (row, *sealed) in wanted.items():
            if denial_key not in there:
                row["payload"], committed = self._sealer.seal(denial_key, *sealed)
                row |= {"detail_commitment": committed, "event_key": denial_key}
                rows.add(tuple(row[name] for name in REPEATING), *(row[name] for name in GIVEN))
        rows.insert(self._connection)
        return len(rows.events)

    def _row(self, said: tuple[Any, ...]) -> dict[str, Any]:
        """By column; of a posting, without its place in the chain."""
        if not isinstance(said, Posting):
            return dict(zip(COLUMNS, said, strict=True))
        return dict.fromkeys(COLUMNS) | {
            **dict(zip(REPEATING, said.repeating, strict=True)),
            "subject_ref": refer(said.subject, self._refs),
            "object_ref": refer(said.other, self._refs),
            "until_at": said.until_at,
            "effective_at": said.effective_at,
            "recorded_at": self._at,
            "batch": said.batch,
        }


class Rows:
    """Rows after a head of the chain, numbered and hashed as they are added; `insert` writes them."""

    def __init__(self, chain: Chain, seq: int, previous: str, recorded_at: int) -> None:
        self._hash, self._seq, self._previous, self._at = chain.hash, seq, previous, recorded_at
        self.events: list[tuple[Any, ...]] = []
        self._details: list[tuple[int, bytes]] = []

    def add(
        self,
        repeating: Repeating,
        batch: str | None,
        committed: str,
        effective_at: int,
        key: str,
        object_ref: str | None,
        subject_ref: str | None,
        until_at: int | None,
        payload: bytes,
    ) -> None:
        self._seq = seq = self._seq + 1
        previous = self._previous
        varying = (batch, committed, effective_at, key, object_ref, previous, self._at, seq, subject_ref, until_at)
        self._previous = digest = self._hash(repeating, varying)
        self.events.append(_in_table((*varying, *repeating, digest)))
        self._details.append((seq, payload))

    def seq_of(self, event_key: str) -> int:
        return next(int(event[_SEQ]) for event in self.events if event[_KEY] == event_key)

    def insert(self, connection: Connection) -> None:
        if self.events:
            insert_rows(connection, self.events, self._details)
