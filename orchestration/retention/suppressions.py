"""The keyed hashes of what was erased: by them a later delivery of an erased person is recognised, and blocked (F5).

A hash is made of the token under a key of its own, so the list names nobody and joins with nothing. It lies beside the
keys and again in the anchor: whatever of the two is put back from an older copy, the other still knows. A new consent
does not lift it: staff do (`assent request readmit`), when the person has come back and says so. Not here: where it is
asked (the ledger, the vault, ingestion)."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable
from pathlib import Path

from orchestration.atomic import write_bytes
from orchestration.consent.anchoring.anchor import Anchor, writable
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import Mac

FILE = "suppressions"
MAGIC = b"assent suppressions 1\n"
DIGEST_BYTES = 16  # as of a token: two of 10⁹ collide with probability 10⁻²¹
CHECK_BYTES = 32


class Suppressions:
    """The list as it stands now, in memory: 16 bytes for each identifier that was erased."""

    def __init__(self, home: Home, keys: Keys, anchor: Anchor | None = None) -> None:
        """Reads the list of the home; with its anchor both, and makes them one where they differ."""
        self._mac, self._key = Mac(keys.derive("suppression")), keys.derive("suppression list")
        self._places = [home.keys / FILE, *([anchor.folder / FILE] if anchor is not None else [])]
        lists = [self._read(place) for place in self._places]
        self._digests = set[bytes]().union(*lists)
        if any(one != self._digests for one in lists) and all(place.parent.is_dir() for place in self._places):
            self._write()

    def __len__(self) -> int:
        return len(self._digests)

    def holds(self, tokens: Iterable[str]) -> set[str]:
        """Those of `tokens` that were erased."""
        if not self._digests:
            return set()
        given = list(tokens)
        digests = self._mac.digests([token.encode() for token in given])
        return {token for token, digest in zip(given, digests, strict=True) if digest in self._digests}

    def add(self, tokens: Collection[str]) -> int:
        """Suppresses `tokens` from now on, durably, the anchor first. How many are new."""
        new = set(self._mac.digests([token.encode() for token in tokens])) - self._digests
        if new:
            self._digests |= new
            self._write()
        return len(new)

    def lift(self, tokens: Collection[str]) -> int:
        """What comes of `tokens` from now on is taken again. How many were suppressed."""
        gone = set(self._mac.digests([token.encode() for token in tokens])) & self._digests
        if gone:
            self._digests -= gone
            self._write()
        return len(gone)

    def _read(self, place: Path) -> set[bytes]:
        """What the file holds; nothing where there is none. A damaged one stops everything: it may name somebody."""
        if not place.is_file():
            return set()
        data = place.read_bytes()
        body = data[len(MAGIC) : -CHECK_BYTES]
        if data.startswith(MAGIC) and hmac.compare_digest(self._check(body), data[-CHECK_BYTES:]):
            return {body[start : start + DIGEST_BYTES] for start in range(0, len(body), DIGEST_BYTES)}
        remedy = "Remove the file if the other, beside the keys or in the anchor, is whole; else restore its folder"
        raise HomeError("the list of who was erased is damaged", where=str(place), remedy=remedy)

    def _write(self) -> None:
        body = b"".join(sorted(self._digests))
        for place in reversed(self._places):  # the anchor first: it must never lack what the home has acted on
            with writable(place.parent):
                write_bytes(place, MAGIC + body + self._check(body))

    def _check(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")
