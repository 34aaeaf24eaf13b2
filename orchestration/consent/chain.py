"""The hash chain: how a row of the ledger becomes bytes, and which row is the first that does not fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from orchestration.consent.models import CHAINED, COLUMNS

GENESIS = hashlib.sha256(b"assent ledger 1").hexdigest()
_SEQ, _PREVIOUS, _HASH = COLUMNS.index("seq"), COLUMNS.index("prev_hash"), COLUMNS.index("hash")
_NAMES = tuple(sorted(CHAINED))
_chained = itemgetter(*CHAINED)
_sorted = itemgetter(*(CHAINED.index(name) for name in _NAMES))
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode


def row_hash(values: Sequence[Any]) -> str:
    """SHA-256 over the JSON object of the chained columns (`values`, as in CHAINED) that are not null, by name.

    Names make it that no two rows share an encoding, and that a column added later changes no older record."""
    named = {name: value for name, value in zip(_NAMES, _sorted(values), strict=True) if value is not None}
    return hashlib.sha256(_encode(named).encode("ascii")).hexdigest()


def link_rows(rows: Iterable[dict[str, Any]], seq: int, previous: str) -> tuple[int, str]:
    """Numbers and hashes `rows` in place after the head (`seq`, `previous`). Returns the new head."""
    for row in rows:
        seq += 1
        row["seq"], row["prev_hash"] = seq, previous
        previous = row["hash"] = row_hash(_chained(row))
    return seq, previous


def first_bad(rows: Iterable[Sequence[Any]]) -> int | None:
    """The first sequence that is missing, altered, moved or inserted; None if the chain holds. `rows` is in order."""
    previous, expected = GENESIS, 1
    for row in rows:
        if row[_SEQ] != expected or row[_PREVIOUS] != previous or row_hash(row[:_HASH]) != row[_HASH]:
            return expected
        previous, expected = row[_HASH], expected + 1
    return None


def commitment(salted: bytes) -> str:
    """What the chain keeps of a deletable detail. `salted` begins with a random salt: without it this says nothing."""
    return hashlib.sha256(salted).hexdigest()
