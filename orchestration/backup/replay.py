"""Replays into a ledger what its anchor's journal holds and it lacks: every restriction and erasure that came since.

A replayed record keeps both its clocks: it says when the person decided and when we learned of it, which stays true
whatever happened to the disk. When it was put back, the anchor and the evidence say. Not here: where the home comes
from (`restore.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, text

from orchestration.consent.anchoring.anchor import Anchor, Pen
from orchestration.consent.anchoring.restrictions import Entry, Restriction, missing, refs_of, restricts
from orchestration.consent.anchoring.signed_heads import AnchorError, Head
from orchestration.consent.chain import row_hash
from orchestration.consent.database.migrate import open_engine
from orchestration.consent.database.store import erase_details, head, insert_rows, known_rows, raw_chunks, writing
from orchestration.consent.detail import DetailSealer
from orchestration.consent.ledger import Ledger
from orchestration.consent.models import CHAINED, COLUMNS
from orchestration.errors import HomeError, VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.vault import Vault

T = TypeVar("T")
EVENT_KEY = COLUMNS.index("event_key")
AT_A_TIME = 10_000
# Whom the last word on it erases, under some controller; at equal times the stricter counts, as in the decision.
ERASED = """
WITH said AS (
    SELECT subject_ref, state, row_number() OVER (
        PARTITION BY subject_ref, controller
        ORDER BY effective_at DESC, CASE WHEN state = 'off' THEN 0 ELSE 1 END DESC, seq DESC
    ) AS place
    FROM events WHERE type = 'status' AND fact = 'erased'
)
SELECT DISTINCT subject_ref FROM said WHERE place = 1 AND coalesce(state, '') <> 'off'
"""
ABOUT = ("type", "decision", "fact", "state", "until_at", "subject_ref", "object_ref")


@dataclass(frozen=True)
class ReplayReport:
    """What a replay found and did. Records that only permit are not in the journal: they are lost until their feed
    delivers them again, which denies until then."""

    stood_at: Head
    anchored_at: Head
    head: Head
    replayed: int
    lost: int
    lost_since: str | None  # when the anchor signed the first state that is not held, and the last
    lost_until: str | None
    subjects: int  # entries of the registry that were put back
    erased: int  # people whose key, contacts and details are destroyed
    contacts: int  # of the vault, removed because no key opens them


def replay(home: Home, keys: Keys, ledger_at: str | Path, anchor: Anchor, now: datetime) -> ReplayReport:
    """Brings ledger, registry and vault of `home` to where nothing that restricts is missing, and signs that. Doing it
    again changes nothing. Raises AnchorError where the anchor cannot say what is missing, VerifyError where the ledger
    is not whole: then nothing may be read."""
    _anchored(anchor)
    engine = open_engine(ledger_at)
    try:
        _require_whole(engine, keys)
        with SubjectRegistry(home, keys) as registry, anchor.writing(registry, now) as pen:
            return _Replay(home, keys, engine, registry, anchor, pen).run()
    finally:
        engine.dispose()


class _Replay:
    """One replay, under the locks of home and anchor."""

    def __init__(
        self, home: Home, keys: Keys, engine: Engine, registry: SubjectRegistry, anchor: Anchor, pen: Pen
    ) -> None:
        self._home, self._keys, self._engine = home, keys, engine
        self._registry, self._anchor, self._pen = registry, anchor, pen
        self._sealer = DetailSealer(keys)
        self._other_refs: dict[str, str] = {}  # of tokens that came to another subject_ref: the journal's → the present

    def run(self) -> ReplayReport:
        anchored_at, subjects = _anchored(self._anchor), 0
        with writing(self._engine) as connection:
            stood_at = head(connection)
            self._require_signed(stood_at)
            subjects = sum(self._put_back_subjects(part) for part in _parts(self._anchor.entries()))
            replayed = sum(self._append(connection, part) for part in _parts(self._anchor.entries()))
            erased = {str(ref) for (ref,) in connection.execute(text(ERASED)) if ref is not None}
            self._require_known(connection, erased)
            erase_details(connection, erased)
            self._registry.destroy_data_keys(erased)
            contacts = self._prune()
            reached = head(connection)
            since, until = _times_after(self._anchor, stood_at)
            # Before the COMMIT: a kill between the two leaves a ledger that is refused and can be replayed into again.
            self._pen.sign_restored(stood_at, reached)
        lost = max(0, anchored_at[0] - stood_at[0] - replayed)
        return ReplayReport(
            stood_at, anchored_at, reached, replayed, lost, since, until, subjects, len(erased), contacts
        )

    def _require_signed(self, stood_at: Head) -> None:
        """A head that the anchor never knew is that of another ledger, or of one that was altered: what it grants may
        be forged, and signing it would hide that. One may lack its signature only where the writer was killed."""
        if self._anchor.has_signed(stood_at) or any(entry.head == stood_at for entry in self._anchor.entries()):
            return
        raise AnchorError(
            f"its anchor never knew this ledger to end at record {stood_at[0]}",
            where=str(self._anchor.folder),
            remedy="Restore a backup with `assent restore FILE`; look who changed the ledger",
        )

    def _put_back_subjects(self, entries: list[Entry]) -> int:
        """Makes the registry know everyone whom a restriction names, and returns how many it did not."""
        named = {ref: s for entry in entries for one in entry.restrictions for ref, s in one.subjects.items()}
        put_back, other_refs = self._registry.adopt({ref: (s.token, s.kind, s.issuer) for ref, s in named.items()})
        self._other_refs |= other_refs
        return put_back

    def _append(self, connection: Connection, entries: list[Entry]) -> int:
        keys = [one.row["event_key"] for entry in entries for one in entry.restrictions]
        known = {
            values[EVENT_KEY] for part in _slices(keys) for rows in known_rows(connection, part) for values in rows
        }
        lacking = list(missing(entries, known))
        for part in _slices(lacking):
            self._insert(connection, part)
        return len(lacking)

    def _insert(self, connection: Connection, restrictions: Sequence[Restriction]) -> None:
        rows, details = [], []
        last, previous = head(connection)
        for seq, restriction in enumerate(restrictions, start=last + 1):
            row = {**restriction.row, "seq": seq, "prev_hash": previous}
            for end in ("subject_ref", "object_ref"):
                row[end] = self._other_refs.get(row[end], row[end])
            if restriction.body is not None:  # so that the feed's next delivery of it is a duplicate, or a conflict
                sealed = self._sealer.seal(row["event_key"], "", restriction.body, "{}")
                payload, row["detail_commitment"] = sealed
                details.append((seq, payload))
            previous = row["hash"] = row_hash([row[name] for name in CHAINED])
            rows.append(tuple(row[name] for name in COLUMNS))
        insert_rows(connection, rows, details)

    def _require_known(self, connection: Connection, erased: set[str]) -> None:
        """Whoever refused must be known: a build leaves out what is about nobody, and a refusal left out is consent."""
        unknown = set[str]()
        for rows in raw_chunks(connection, f"SELECT {', '.join(ABOUT)} FROM events"):
            about = [dict(zip(ABOUT, row, strict=True)) for row in rows]
            refs = {ref for row in about if restricts(row) for ref in refs_of(row)} - erased
            unknown |= refs - self._registry.named(refs).keys()
        if unknown:
            raise HomeError(
                f"the registry of subjects does not know {len(unknown)} who refused something",
                where=str(self._home.keys_db),
                remedy="The keys are older than the ledger: restore the latest `assent keys backup`",
            )

    def _prune(self) -> int:
        """Removes contacts that no key opens: of people erased since, or made after the keys were backed up."""
        if not self._home.vault_db.is_file():
            return 0
        with Vault(self._home, self._keys) as vault:
            return vault.prune()


def _require_whole(engine: Engine, keys: Keys) -> None:
    if (bad := Ledger(engine, keys=keys).verify()) is not None:
        raise VerifyError(
            f"the ledger does not verify from record {bad}", remedy="Restore a backup with `assent restore FILE`"
        )


def _anchored(anchor: Anchor) -> Head:
    last = anchor.heads.last()
    if last is None:
        raise AnchorError(
            "the anchor of this home is missing: nobody can say who withdrew since",
            where=str(anchor.folder),
            remedy="Mount its folder, or name it with --anchor; there is no restore without it",
        )
    return last.head


def _times_after(anchor: Anchor, stood_at: Head) -> tuple[str | None, str | None]:
    """When the first and the last state were signed that a ledger at `stood_at` does not hold."""
    times: list[str] = []
    for line in anchor.heads.all():
        times = [] if line.head == stood_at else [*times[:1], line.recorded_at]
    return (times[0], times[-1]) if times else (None, None)


def _parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The journal, some thousand records at a time."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        part.append(entry)
        size += len(entry.restrictions)
        if size >= AT_A_TIME:
            yield part
            part, size = [], 0
    if part:
        yield part


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + AT_A_TIME] for start in range(0, len(items), AT_A_TIME))
