"""Keeps what a build resolved, so that the next one divides again only what changed. Not here: how (`incremental.py`).

The file holds what a generation's file holds too, identifiers as tokens, and is replaced with every build. What is not,
byte for byte under a key of the home, what this very code wrote is ignored, and everything is resolved anew."""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestration.atomic import replace
from orchestration.home import Home
from orchestration.identity.graph import NONE, Ints, Links, Nodes, People
from orchestration.identity.incremental import Resolution
from orchestration.identity.keys import Keys

DIGEST_BYTES = 32
ALIGNED = 64  # bytes at which an array begins, so that it is read where it lies
Words = npt.NDArray[np.uint64]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Names:
    """Whom the numbers of nodes stand for: in each stretch, of one strength and controller, tokens in their order."""

    stretches: tuple[tuple[str, int], ...]  # what it is, and where it ends
    classes: tuple[str, ...]  # what the numbers of anchor classes stand for
    high: Words  # the first and last 16 hex digits of the tokens
    low: Words


@dataclass(frozen=True)
class Remembered:
    resolution: Resolution
    names: Names


class Memory:
    """`warehouse/identity/` of one home, for builds by one version of the code. Hold the home's lock."""

    def __init__(self, home: Home, keys: Keys, code_hash: str) -> None:
        self._path, self._key = home.warehouse / "identity" / "resolution", keys.derive("identity-resolution")
        self._code_hash = code_hash

    def read(self) -> Remembered | None:
        """What the last build resolved, if it is sound and of this code."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            data = np.fromfile(self._path, dtype=np.uint8)
            if hmac.compare_digest(self._check([data[DIGEST_BYTES:]]), data[:DIGEST_BYTES].tobytes()):
                return _unpacked(_opened(data))
        return None

    def write(self, resolution: Resolution, names: Names) -> None:
        """Replaces it, durably or not at all."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        pieces = _closed(_packed(resolution, names))
        aside = self._path.with_name("tmp_resolution")
        with aside.open("wb") as file:
            aside.chmod(0o600)
            file.write(self._check(pieces))
            for piece in pieces:
                piece.tofile(file)
        replace(aside, self._path)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)

    def _check(self, pieces: Sequence[npt.NDArray[Any]]) -> bytes:
        keyed = hmac.new(self._key, self._code_hash.encode(), "sha256")  # 2 GB/s where the processor knows SHA-256
        for piece in pieces:
            keyed.update(piece.view(np.uint8).data)
        return keyed.digest()


def old_numbers(before: Names, now: Names) -> Ints | None:
    """For each node of now its number before, NONE where it is new. None: the numbers cannot be compared."""
    if before.classes != now.classes:
        return None
    was = {name: (start, stop) for name, start, stop in _stretches(before)}
    found = np.full(len(now.high), NONE)
    for name, start, stop in _stretches(now):
        low, high = was.get(name, (0, 0))
        if low == high:
            continue
        place = low + np.searchsorted(before.high[low:high], now.high[start:stop])
        place = np.minimum(place, high - 1)
        is_same = (before.high[place] == now.high[start:stop]) & (before.low[place] == now.low[start:stop])
        found[start:stop][is_same] = place[is_same]
    return found


def _stretches(names: Names) -> list[tuple[str, int, int]]:
    ends = [0, *(end for _, end in names.stretches)]
    return [(name, start, end) for (name, end), start in zip(names.stretches, ends, strict=False)]


def _closed(arrays: Arrays) -> list[npt.NDArray[Any]]:
    """A head that says what follows, and the arrays, each at a multiple of `ALIGNED` bytes of the file."""
    head = json.dumps([[name, values.dtype.str, values.shape] for name, values in arrays.items()]).encode()
    pieces = [np.frombuffer(len(head).to_bytes(8, "little") + head, dtype=np.uint8)]
    place = DIGEST_BYTES + len(pieces[0])
    for values in arrays.values():
        pieces += [np.zeros(-place % ALIGNED, dtype=np.uint8), np.ascontiguousarray(values).reshape(-1)]
        place += pieces[-2].nbytes + pieces[-1].nbytes
    return [piece for piece in pieces if piece.nbytes]


def _opened(data: npt.NDArray[np.uint8]) -> Arrays:
    start = DIGEST_BYTES + 8
    place = start + int.from_bytes(data[DIGEST_BYTES:start].tobytes(), "little")
    arrays: Arrays = {}
    for name, kind, shape in json.loads(data[start:place].tobytes()):
        place += -place % ALIGNED
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        arrays[name] = data[place : place + size].view(kind).reshape(shape)
        place += size
    return arrays


def _packed(resolution: Resolution, names: Names) -> Arrays:
    nodes, links, people = resolution.nodes, resolution.links, resolution.people
    return {
        "names": np.frombuffer(json.dumps([names.stretches, names.classes]).encode(), dtype=np.uint8),
        "high": names.high,
        "low": names.low,
        "is_strong": nodes.is_strong,
        "anchor_class": nodes.anchor_class.astype(np.int32),
        "max_links": nodes.max_links.astype(np.int32),
        "ends": links.ends.astype(np.int32),
        "in_force": links.in_force,
        **{f"people_{field.name}": _narrow(getattr(people, field.name)) for field in fields(People)},
    }


def _narrow(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values if values.dtype == np.bool_ else values.astype(np.int32)


def _unpacked(arrays: Arrays) -> Remembered:
    stretches, classes = json.loads(arrays["names"].tobytes())
    names = Names(tuple((str(n), int(end)) for n, end in stretches), tuple(classes), arrays["high"], arrays["low"])
    nodes = Nodes(arrays["is_strong"], arrays["anchor_class"], arrays["max_links"])
    people = People(**{field.name: arrays[f"people_{field.name}"] for field in fields(People)})
    return Remembered(Resolution(nodes, Links(arrays["ends"], arrays["in_force"]), people), names)
