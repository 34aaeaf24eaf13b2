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
from orchestration.identity.graph import NONE, Bools, Ints, Links, Nodes, People
from orchestration.identity.incremental import Graph, Resolution, Words
from orchestration.identity.keys import Keys

DIGEST_BYTES = 32
ALIGNED = 64  # bytes at which an array begins, so that it is read where it lies
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Names:
    """Whom the numbers of nodes stand for: in each stretch, of one strength and controller, tokens in their order."""

    stretches: tuple[tuple[str, int], ...]  # what it is, and where it ends
    rules: tuple[str, ...]  # what policy says of each kind, which is part of a token, and the classes of anchors
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
    if before.rules != now.rules:
        return None
    was = {name: (start, stop) for name, start, stop in _stretches(before)}
    found = np.full(len(now.high), NONE)
    for name, start, stop in _stretches(now):
        low, high = was.get(name, (0, 0))
        if np.array_equal(before.high[low:high], now.high[start:stop]):  # of most kinds nobody is new
            is_same = np.array_equal(before.low[low:high], now.low[start:stop])
            found[start:stop] = np.arange(low, high)
        else:
            is_known, is_left = _shared(before.high[low:high], now.high[start:stop])
            halves = (before.high, now.high), (before.low, now.low)
            is_same = all(np.array_equal(b[low:high][is_left], n[start:stop][is_known]) for b, n in halves)
            if is_same:
                found[start:stop][is_known] = np.flatnonzero(is_left) + low
        if not is_same:
            return None  # half a token is that of another: not to be expected before the end of the world
    return found


def _shared(before: Words, now: Words) -> tuple[Bools, Bools]:
    """Which of now were there before, and which of before are still. Each is sorted, so to sort both merges them."""
    merged = np.concatenate([before, now])
    merged.sort(kind="stable")
    differs = np.ones(len(merged) + 1, dtype=np.bool_)
    np.not_equal(merged[1:], merged[:-1], out=differs[1:-1])
    alone = np.flatnonzero(differs[1:] & differs[:-1])
    if len(alone) == len(now) - len(before):  # nobody is gone: after pairs and those alone, no search (a third) tells
        return _all_but(now, (alone + np.arange(len(alone))) // 2), np.ones(len(before), dtype=np.bool_)
    return _all_but(now, _places(now, merged[alone])), _all_but(before, _places(before, merged[alone]))


def _places(values: Words, sought: Words) -> Ints:
    place = np.searchsorted(values, sought)
    place, sought = place[place < len(values)], sought[place < len(values)]
    found: Ints = place[values[place] == sought]
    return found


def _all_but(values: Words, left_out: Ints) -> Bools:
    is_left = np.ones(len(values), dtype=np.bool_)
    is_left[left_out] = False
    return is_left


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
    graph, people = resolution.graph, resolution.people
    nodes, links = graph.nodes, graph.links
    return {
        "names": np.frombuffer(json.dumps([names.stretches, names.rules]).encode(), dtype=np.uint8),
        "high": names.high,
        "low": names.low,
        "is_strong": nodes.is_strong,
        "anchor_class": nodes.anchor_class.astype(np.int32),
        "max_links": nodes.max_links.astype(np.int32),
        "ends": links.ends.astype(np.int32),
        "in_force": links.in_force,
        "start": graph.start,
        "total": graph.total,
        **{f"people_{field.name}": _narrow(getattr(people, field.name)) for field in fields(People)},
    }


def _narrow(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values if values.dtype == np.bool_ else values.astype(np.int32)


def _unpacked(arrays: Arrays) -> Remembered:
    stretches, rules = json.loads(arrays["names"].tobytes())
    names = Names(tuple((str(n), int(end)) for n, end in stretches), tuple(rules), arrays["high"], arrays["low"])
    nodes = Nodes(arrays["is_strong"], arrays["anchor_class"], arrays["max_links"])
    people = People(**{field.name: arrays[f"people_{field.name}"] for field in fields(People)})
    graph = Graph(nodes, Links(arrays["ends"], arrays["in_force"]), arrays["start"], arrays["total"])
    return Remembered(Resolution(graph, people), names)
