"""The hash chain: how a row of the ledger becomes bytes, and which row is the first that does not fit.

Most columns repeat from row to row, so the text around those that vary is laid out once per combination of the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring_ascii as quote
from typing import Any

from orchestration.consent.models import CHAINED

GENESIS = hashlib.sha256(b"assent ledger 1").hexdigest()
_NAMES = tuple(sorted(CHAINED))
# By name, as `Chain.hash` takes them. `batch` is among them because a long ledger holds many.
VARYING = (
    *("batch", "detail_commitment", "effective_at", "event_key", "object_ref"),
    *("prev_hash", "recorded_at", "seq", "subject_ref", "until_at"),
)
REPEATING = tuple(name for name in _NAMES if name not in VARYING)
SCANNED = (*VARYING, *REPEATING, "hash")  # the columns that `first_bad` reads
_PREVIOUS, _SEQ = VARYING.index("prev_hash"), VARYING.index("seq")
_MOST_LAYOUTS = 10_000  # of about 2 kB each; a feed has some hundreds
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode

Repeating = tuple[str | int | None, ...]  # the values of REPEATING


def row_hash(values: Sequence[Any]) -> str:
    """SHA-256 over the JSON object of the chained columns (`values`, as in CHAINED) that are not null, by name.

    Names make it that no two rows share an encoding, and that a column added later changes no older record."""
    named = {name: value for name, value in zip(CHAINED, values, strict=True) if value is not None}
    return hashlib.sha256(_encode(dict(sorted(named.items()))).encode("ascii")).hexdigest()


class Chain:
    """Computes `row_hash` for many rows."""

    def __init__(self) -> None:
        self._layouts: dict[tuple[Any, ...], list[str]] = {}

    def hash(self, repeating: Repeating, varying: Sequence[Any]) -> str:
        """The hash of a row from its values of REPEATING and VARYING. A value of another type than its column's raises
        TypeError or ValueError, or gives a hash that no row has."""
        batch, commitment, effective_at, key, other, previous, recorded_at, seq, subject, until = varying
        where = (repeating, batch is None, other is None, subject is None, until is None)
        a, b, c, d, e, f, g, h, i, j, k = self._layouts.get(where) or self._lay_out(where, varying)
        text = (  # !r: a number is its digits, and text in its place would never look like one
            f"{a}{'' if batch is None else quote(batch)}{b}{quote(commitment)}{c}{effective_at!r}{d}{quote(key)}{e}"
            f"{'' if other is None else quote(other)}{f}{quote(previous)}{g}{recorded_at!r}{h}{seq!r}{i}"
            f"{'' if subject is None else quote(subject)}{j}{'' if until is None else repr(until)}{k}"
        )
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def _lay_out(self, where: tuple[Any, ...], varying: Sequence[Any]) -> list[str]:
        """The encoding before, between and after VARYING."""
        fixed = dict(zip(REPEATING, where[0], strict=True))
        given = dict(zip(VARYING, varying, strict=True))
        layout, separator = ["{"], ""
        for name in _NAMES:
            if (given | fixed)[name] is not None:
                layout[-1] += f'{separator}"{name}":' + (_encode(fixed[name]) if name in fixed else "")
                separator = ","
            if name in given:
                layout.append("")
        layout[-1] += "}"
        if len(self._layouts) >= _MOST_LAYOUTS:
            self._layouts.clear()
        self._layouts[where] = layout
        return layout


def first_bad(rows: Iterable[tuple[Any, ...]]) -> int | None:
    """The first sequence that is missing, altered, moved or inserted; None if the chain holds. `rows` is in order, each
    with the columns SCANNED."""
    hash_of, varied = Chain().hash, len(VARYING)
    previous, expected = GENESIS, 1
    try:
        for row in rows:
            varying, recorded = row[:varied], row[-1]
            if varying[_SEQ] != expected or varying[_PREVIOUS] != previous:
                return expected
            if hash_of(row[varied:-1], varying) != recorded:
                return expected
            previous, expected = recorded, expected + 1
    except (TypeError, ValueError):  # a value of a type that its column cannot hold
        return expected
    return None


def commitment(salted: bytes) -> str:
    """What the chain keeps of a deletable detail. `salted` begins with a random salt: without it this says nothing."""
    return hashlib.sha256(salted).hexdigest()
