"""The anchor's journal file: entries encrypted and chained, durable before the ledger commits what they hold.

Who a record is about stands apart within each entry, outside the digests, so that it can be erased from old entries.
Not here: what belongs in it (`restrictions.py`), who may write when (`anchor.py`)."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from cryptography.exceptions import InvalidTag

from orchestration.atomic import replace, write_bytes
from orchestration.consent.anchoring.restrictions import Entry, Restriction, refs_of
from orchestration.consent.anchoring.signed_heads import REMEDY, AnchorError, Position
from orchestration.consent.models import COLUMNS, Subject
from orchestration.identity.keys import NONCE_BYTES, Keys

MAGIC = b"assent journal 1\n"
START = Position(0, len(MAGIC), hashlib.sha256(MAGIC).hexdigest())
LENGTHS = struct.Struct(">II")  # of the two sealed parts of an entry: its records, and who they are about
DIGEST_BYTES = 32
TAG_BYTES = 16
KEPT = tuple(name for name in COLUMNS if name not in ("seq", "prev_hash", "hash"))
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode


class Frame(NamedTuple):
    """One entry as it lies in the file."""

    before: Position
    lengths: bytes
    records: bytes
    people: bytes

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(bytes.fromhex(self.before.digest) + self.lengths + self.records).digest()

    @property
    def bytes(self) -> bytes:
        return self.lengths + self.records + self.people + self.digest

    @property
    def behind(self) -> Position:
        size = LENGTHS.size + len(self.records) + len(self.people) + DIGEST_BYTES
        return Position(self.before.entries + 1, self.before.size + size, self.digest.hex())


class Journal:
    """journal.log of one home. Whoever appends or forgets holds the anchor's lock."""

    def __init__(self, path: Path, keys: Keys, home_id: str) -> None:
        self._path, self._home_id = path, home_id
        self._cipher = keys.cipher("anchor journal")

    @property
    def is_begun(self) -> bool:
        """Whether it holds entries, or half of one."""
        return self._path.is_file() and self._path.stat().st_size > len(MAGIC)

    def make(self) -> None:
        """An empty journal."""
        write_bytes(self._path, MAGIC)

    def entries(self, since: Position = START) -> Iterator[tuple[Entry, Position]]:
        """The entries after `since`, each with the position behind it. Half an entry at the end, which a killed writer
        left, is none. Raises AnchorError where the journal is shorter than `since`, or altered."""
        for frame in self._frames(since):
            yield self._unseal(frame), frame.behind

    def append(self, at: Position, entry: Entry) -> Position:
        """Writes `entry` durably behind `at`, the end of the last whole entry. Returns the position behind it."""
        records = self._seal("records", at, zlib.compress(_records(entry), 1))
        people = self._seal("people", at, _people(entry))
        frame = Frame(at, LENGTHS.pack(len(records), len(people)), records, people)
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CLOEXEC), "r+b") as file:
            file.seek(at.size)
            file.truncate()
            file.write(frame.bytes)
            file.flush()
            os.fsync(file.fileno())
        return frame.behind

    def forget(self, subject_refs: Collection[str]) -> int:
        """Erases who these are, and what was said of them, from every entry; returns from how many. Each entry keeps
        its length and its digest, so that positions and signatures hold."""
        changed, aside = 0, self._path.with_name(f"tmp_{self._path.name}")
        with aside.open("wb") as copy:
            copy.write(MAGIC)
            for frame in self._frames(START):
                entry = self._unseal(frame)
                if any(refs_of(restriction.row) & set(subject_refs) for restriction in entry.restrictions):
                    people = _people(entry, subject_refs).ljust(len(frame.people) - NONCE_BYTES - TAG_BYTES)
                    frame = frame._replace(people=self._seal("people", frame.before, people))
                    changed += 1
                copy.write(frame.bytes)
        replace(aside, self._path)
        return changed

    def _frames(self, since: Position) -> Iterator[Frame]:
        with self._opened(since) as file:
            end, at = os.fstat(file.fileno()).st_size, since
            while len(lengths := file.read(LENGTHS.size)) == LENGTHS.size:
                sizes = LENGTHS.unpack(lengths)
                if (behind := at.size + LENGTHS.size + sum(sizes) + DIGEST_BYTES) > end or not any(sizes):
                    return  # not all of it arrived, or its length did before its bytes
                frame = Frame(at, lengths, file.read(sizes[0]), file.read(sizes[1]))
                if file.read(DIGEST_BYTES) != frame.digest:
                    if behind == end:
                        return
                    raise self._damaged(at.entries + 1)
                yield frame
                at = frame.behind

    def _opened(self, since: Position) -> IO[bytes]:
        if self._path.is_file():
            file = self._path.open("rb")
            file.seek(max(0, since.size - DIGEST_BYTES))
            found = file.read(min(since.size, DIGEST_BYTES))
            if found == (bytes.fromhex(since.digest) if since.entries else MAGIC):
                return file
            file.close()
        raise AnchorError("the journal of the anchor is missing, cut or altered", where=str(self._path), remedy=REMEDY)

    def _seal(self, part: str, at: Position, plain: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, self._bound(part, at))

    def _unseal(self, frame: Frame) -> Entry:
        """Raises AnchorError where a part was not sealed with this home's keys for this place in this journal."""
        try:
            records, people = (
                json.loads(unpack(self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)))
                for sealed, bound, unpack in (
                    (frame.records, self._bound("records", frame.before), zlib.decompress),
                    (frame.people, self._bound("people", frame.before), bytes),
                )
            )
            return _entry(records, people)
        except (InvalidTag, ValueError, zlib.error):
            pass
        raise AnchorError(
            f"entry {frame.before.entries + 1} of the journal does not open",
            where=str(self._path),
            remedy="The keys here are from before a rotation: restore the newest `assent keys backup`. If they are the "
            "newest, the entry is altered: look who changed it, and put the anchor back from its own copy",
        )

    def _bound(self, part: str, at: Position) -> bytes:
        """What a part is bound to: it opens in its own place only."""
        return f"{part}|{self._home_id}|{at.entries}|{at.digest}".encode()

    def _damaged(self, number: int) -> AnchorError:
        return AnchorError(f"entry {number} of the journal is altered", where=str(self._path), remedy=REMEDY)


def _records(entry: Entry) -> bytes:
    rows = [[restriction.row[name] for name in KEPT] for restriction in entry.restrictions]
    return _encode({"after": entry.after, "head": entry.head, "columns": KEPT, "rows": rows}).encode()


def _people(entry: Entry, erased: Collection[str] = ()) -> bytes:
    """Who the records are about, and the hashes of their bodies: who holds the keys could tell a person from them."""
    gone = set(erased)
    subjects = {ref: s for told in entry.restrictions for ref, s in told.subjects.items() if ref not in gone}
    bodies = [None if refs_of(told.row) & gone else told.body for told in entry.restrictions]
    return _encode({"subjects": subjects, "bodies": bodies}).encode()


def _entry(records: dict[str, Any], people: dict[str, Any]) -> Entry:
    subjects = {ref: Subject(*subject) for ref, subject in people["subjects"].items()}
    rows = [dict.fromkeys(KEPT) | dict(zip(records["columns"], row, strict=True)) for row in records["rows"]]
    restrictions = (
        Restriction(row, body, {ref: subjects[ref] for ref in refs_of(row) & subjects.keys()})
        for row, body in zip(rows, people["bodies"], strict=True)
    )
    (after, before), (seq, digest) = records["after"], records["head"]
    return Entry((after, before), (seq, digest), tuple(restrictions))
