"""The signed heads of a ledger: one line for each state that was reached, chained and never altered.

Not here: whether the ledger still holds them (`anchor.py`)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestration.errors import HomeError
from orchestration.identity.keys import Keys

FIRST = hashlib.sha256(b"assent anchor 1").hexdigest()  # what the first line names as the line before it
REMEDY = "Put the anchor back as it was, from its own copy; look who changed it"
DAMAGED = "a line of the anchor is damaged"
TAIL_BYTES = 16_384  # two lines are found in it: a line has about 700 bytes
FIELDS = frozenset(
    (
        *("format", "kind", "home_id", "seq", "hash", "recorded_at", "journal", "subjects", "departs_from"),
        *("previous", "key_id", "signature"),
    )
)
Head = tuple[int, str]  # sequence and hash of a record
_encode = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class AnchorError(HomeError):
    """The ledger and its anchor do not fit, or the anchor cannot be used."""


class Position(NamedTuple):
    """How far a journal reaches: entries, bytes, digest of the last entry."""

    entries: int
    size: int
    digest: str


class Mark(NamedTuple):
    """How far a registry of subjects has grown: how many it ever made, and a random sign of that moment."""

    ever: int
    sign: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What one line says. A `restore` departs from a head: what was signed after that head is no longer held."""

    seq: int
    hash: str
    recorded_at: str
    journal: Position
    subjects: Mark
    kind: Literal["head", "restore"] = "head"
    departs_from: Head | None = None

    @property
    def head(self) -> Head:
        return self.seq, self.hash


class SignedHeads:
    """heads.jsonl of one home. Whoever appends holds the anchor's lock."""

    def __init__(self, path: Path, keys: Keys, home_id: str) -> None:
        self._path, self._home_id = path, home_id
        self._key = Ed25519PrivateKey.from_private_bytes(keys.derive("anchor signing"))
        self._public = self._key.public_key()
        raw = self._public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._key_id = hashlib.sha256(raw).hexdigest()[:16]

    @property
    def public_pem(self) -> bytes:
        """What an auditor keeps a copy of."""
        return self._public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def last(self) -> Checkpoint | None:
        """The last line, its signature and its link to the line before verified; None where there is none."""
        lines = self._tail()
        return self._read(lines[-1], digest_of(lines[-2]) if len(lines) > 1 else FIRST) if lines else None

    def append(self, checkpoint: Checkpoint) -> None:
        """Signs and appends, durably. What a killed writer left behind the last whole line is removed first."""
        lines = self._tail()
        fields = self._fields(checkpoint, digest_of(lines[-1]) if lines else FIRST)
        signature = self._key.sign(_encode(fields).encode()).hex()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            file.seek(self._whole_bytes(file.fileno()))
            file.truncate()
            file.write(_encode({**fields, "signature": signature}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def all(self) -> Iterator[Checkpoint]:
        """Every line from the first. The last signature covers all of them: each line names the digest of the one
        before it. Checking each signature too would say no more, and take 10 s for 100,000 lines instead of 2."""
        if self.last() is None:
            return
        before = FIRST
        with self._path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield self._read(line[:-1], before, is_covered=True)
                    before = digest_of(line[:-1])

    def _tail(self) -> list[bytes]:
        """The last whole lines, more than two where there are."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]  # behind the last line feed: nothing, or half a line
        return lines[1:] if start else lines

    def _whole_bytes(self, descriptor: int) -> int:
        size = os.fstat(descriptor).st_size
        start = max(0, size - TAIL_BYTES)
        return start + os.pread(descriptor, size - start, start).rfind(b"\n") + 1

    def _fields(self, checkpoint: Checkpoint, previous: str) -> dict[str, Any]:
        return {
            "format": 1,
            "kind": checkpoint.kind,
            "home_id": self._home_id,
            "seq": checkpoint.seq,
            "hash": checkpoint.hash,
            "recorded_at": checkpoint.recorded_at,
            "journal": checkpoint.journal,
            "subjects": checkpoint.subjects,
            "departs_from": checkpoint.departs_from,
            "previous": previous,
            "key_id": self._key_id,
        }

    def _read(self, line: bytes, previous: str, *, is_covered: bool = False) -> Checkpoint:
        fields = _parsed(line)
        problem = self._problem(line, fields, previous, is_covered)
        if fields is not None and not problem:
            try:
                return _checkpoint(fields)
            except (TypeError, ValueError, IndexError):
                problem = DAMAGED
        raise AnchorError(problem, where=str(self._path), remedy=REMEDY) from None

    def _problem(self, line: bytes, fields: dict[str, Any] | None, previous: str, is_covered: bool) -> str:
        if fields is None:
            return DAMAGED
        if fields["home_id"] != self._home_id:
            return "the anchor is of another home"
        if fields["key_id"] != self._key_id:
            return "the anchor was signed with another master key"
        if not is_covered and not self._has_signed(fields):
            return "the signature of the anchor is bad"
        if _encode(fields).encode() != line:
            return DAMAGED
        return "lines of the anchor are altered, missing or reordered" if previous != fields["previous"] else ""

    def _has_signed(self, fields: dict[str, Any]) -> bool:
        unsigned = {name: value for name, value in fields.items() if name != "signature"}
        try:
            self._public.verify(bytes.fromhex(fields["signature"]), _encode(unsigned).encode())
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True


def digest_of(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def not_held(lines: Iterable[Checkpoint], holds: dict[int, str]) -> Head | None:
    """The lowest signed head in force that `holds` (sequence → hash) lacks. A restore ends the force of what was
    signed after the head that it departs from."""
    bad: Head | None = None
    limit: int | None = None
    for line in reversed(list(lines)):
        for head in [line.head, *([line.departs_from] if line.departs_from else [])]:
            if (limit is None or head[0] <= limit) and head[0] and holds.get(head[0]) != head[1]:
                bad = head if bad is None else min(bad, head)
        if line.departs_from is not None:
            limit = line.departs_from[0] if limit is None else min(limit, line.departs_from[0])
    return bad


def _checkpoint(fields: dict[str, Any]) -> Checkpoint:
    departs = fields["departs_from"]
    return Checkpoint(
        kind=fields["kind"],
        seq=fields["seq"],
        hash=fields["hash"],
        recorded_at=fields["recorded_at"],
        journal=Position(*fields["journal"]),
        subjects=Mark(*fields["subjects"]),
        departs_from=None if departs is None else (departs[0], departs[1]),
    )


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and fields.keys() == FIELDS else None
