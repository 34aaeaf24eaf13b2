"""The byte strings that would give somebody away, and a fast search for all of them at once.

Not here: where to look (`search.py`)."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

ENCODINGS = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")
HASHES = ("sha256", "sha1", "md5")  # unkeyed: a hash of a phone is the phone
SHORTEST = 4  # bytes: a shorter one would be found in any file
WINDOW = 1 << 24  # bytes at a time
Bytes = bytes | bytearray | memoryview


def forms_of_token(token: str) -> set[bytes]:
    """A token as it may lie in a file: as text, as its 16 bytes, and both again in base64 and in hex; as two numbers of
    a processor, as the memory of identities has it."""
    raw = bytes.fromhex(token)
    halves = {raw[:8][::-1], raw[8:][::-1]}
    return _plain(token) | _plain(token.upper()) | {raw} | halves | _packed(token.encode()) | _packed(raw)


def forms_of_value(value: str) -> set[bytes]:
    """A plain value as it may lie in a file, escaped too, and its unkeyed hash. Of a phone also without its plus and
    its country, and in groups."""
    spellings = {value, value.lower(), value.upper(), value.encode("unicode_escape").decode()}
    digits = value.removeprefix("+")
    if digits.isdigit() and value != digits:
        short = digits.removeprefix("86")
        spellings |= {digits, short, *(f"{short[:3]}{by}{short[3:7]}{by}{short[7:]}" for by in " -")}
    found = {form for spelling in spellings for form in _plain(spelling)}
    for spelling in spellings:
        found |= _packed(spelling.encode())
        for name in HASHES:
            digest = hashlib.new(name, spelling.encode(), usedforsecurity=False)
            found |= {digest.digest(), digest.hexdigest().encode(), digest.hexdigest().upper().encode()}
    return {form for form in found if len(form) >= SHORTEST}


def forms_of_secret(secret: bytes) -> set[bytes]:
    """Key material as it may lie in a file: as it is, in hex, in base64."""
    return {secret} | _packed(secret) | {base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1]}


def _plain(text: str) -> set[bytes]:
    return {text.encode(name) for name in ENCODINGS}


def _packed(data: bytes) -> set[bytes]:
    """In hex, and in base64 wherever in a triple of bytes it begins: the parts that do not depend on its neighbours."""
    hexes = {data.hex().encode(), data.hex().upper().encode()}
    shifted = {base64.b64encode(b"\0" * shift + data)[(0, 2, 3)[shift] :].rstrip(b"=")[:-1] for shift in range(3)}
    return {form for form in hexes | shifted if len(form) >= 2 * SHORTEST}


@dataclass(frozen=True)
class Needles:
    """Name → the byte strings to look for. All of them are looked for in one pass, however many there are: measured,
    120 MB/s for 200 as for 2,000, where one pass each of 2 GB/s would take ten and a hundred times as long."""

    forms: Mapping[str, Collection[bytes]]
    _by_start: dict[bytes, list[tuple[bytes, str]]] = field(init=False, default_factory=lambda: defaultdict(list))
    _first: npt.NDArray[np.bool_] = field(init=False, default_factory=lambda: np.zeros(1 << 16, np.bool_))
    _second: npt.NDArray[np.bool_] = field(init=False, default_factory=lambda: np.zeros(1 << 16, np.bool_))

    def __post_init__(self) -> None:
        for name, forms in self.forms.items():
            for form in forms:
                self._by_start[form[:SHORTEST]].append((form, name))
                first, second = np.frombuffer(form[:SHORTEST], "<u2")
                self._first[first] = self._second[second] = True

    @cached_property
    def _starts(self) -> npt.NDArray[np.uint32]:
        """The first bytes of every form as a number, in order; never empty."""
        return np.sort(np.append(np.frombuffer(b"".join(self._by_start), "<u4"), np.uint32(0)))

    @cached_property
    def longest(self) -> int:
        return max((len(form) for forms in self.forms.values() for form in forms), default=0)

    def found(self, data: Bytes | Any) -> set[str]:
        """The names of those that `data` holds."""
        view = memoryview(data).cast("B")
        names: set[str] = set()
        step = max(WINDOW - self.longest, 1)
        for start in range(0, max(len(view) - SHORTEST + 1, 0), step):
            names |= self._in_window(view[start : start + WINDOW])
        return names

    def _in_window(self, window: memoryview) -> set[str]:
        units = np.frombuffer(window, np.uint8)
        if len(units) < SHORTEST:
            return set()
        pairs = units[:-1].astype(np.uint16) | (units[1:].astype(np.uint16) << 8)
        places = np.flatnonzero(self._first[pairs[:-2]] & self._second[pairs[2:]])
        wholes = pairs[places].astype(np.uint32) | (pairs[places + 2].astype(np.uint32) << 16)
        found = np.minimum(np.searchsorted(self._starts, wholes), len(self._starts) - 1)
        names: set[str] = set()
        for place in places[self._starts[found] == wholes].tolist():
            for form, name in self._by_start.get(bytes(window[place : place + SHORTEST]), ()):
                if name not in names and window[place : place + len(form)] == form:
                    names.add(name)
        return names


def needles_of(tokens: Mapping[str, str], values: Iterable[str]) -> dict[str, set[bytes]]:
    """The forms of tokens (name → token) and values, each under a name that gives nothing away."""
    forms = {f"token {name}": forms_of_token(token) for name, token in tokens.items()}
    return forms | {f"value {number}": forms_of_value(value) for number, value in enumerate(sorted(set(values)), 1)}
