"""Seals the deletable detail of a ledger record, and recognises events again by keyed hashes. Not here: the chain."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quote

from cryptography.exceptions import InvalidTag

from orchestration.consent.chain import Repeating, commitment
from orchestration.consent.models import Subject
from orchestration.consent.postings import Posting
from orchestration.identity.keys import Keys

NONCE_BYTES = 12
SALT_BYTES = 16
HASH_BYTES = 16
_SEPARATOR = "\x1f"
_MOST_SAID = 10_000


@dataclass(frozen=True)
class Detail:
    """The detail of one record: the feed's own event id, the hash of the body as delivered, and the rest."""

    event_id: str
    body: str
    rest: dict[str, str]


class DetailSealer:
    """Encrypts details, each bound to its event, with commitments that the chain keeps."""

    def __init__(self, keys: Keys) -> None:
        self._cipher = keys.cipher("ledger-detail")
        self._keyed = hashlib.blake2b(key=keys.derive("ledger-events"), digest_size=HASH_BYTES)
        self._said: dict[Repeating, str] = {}

    def event_key(self, *parts: str) -> str:
        """What makes an event unique for ever, also after its detail is erased."""
        return self._hash(_SEPARATOR.join(parts))

    def body(self, posting: Posting) -> str:
        """A keyed hash of everything that the feed said in this record; batch and arrival are not part of it."""
        repeating, _, subject, other, effective_at, until_at, _, detail = posting
        said = self._said.get(repeating) or self._say(repeating)
        who = "null" if subject is None else quote(subject.token)
        whom = "null" if other is None else quote(other.token)
        return self._hash(f"[{said},{who},{whom},{effective_at},{until_at},{detail}]")

    def _say(self, repeating: Repeating) -> str:
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[repeating] = said = json.dumps(repeating)
        return said

    def seal(self, event_key: str, event_id: str, body: str, detail: str) -> tuple[bytes, str]:
        """The payload for the side table and the commitment for the chain. `detail` is encoded."""
        random = os.urandom(NONCE_BYTES + SALT_BYTES)
        nonce, salt = random[:NONCE_BYTES], random[NONCE_BYTES:]
        plain = salt + f'[{quote(event_id)},"{body}",{detail}]'.encode("ascii")
        return nonce + self._cipher.encrypt(nonce, plain, event_key.encode()), commitment(plain)

    def open(self, event_key: str, payload: bytes, committed: str) -> Detail | None:
        """The detail, or None where the payload is not what was committed."""
        plain = self._opened(event_key, payload, committed)
        return None if plain is None else Detail(*json.loads(plain[SALT_BYTES:]))

    def holds(self, event_key: str, payload: bytes, committed: str) -> bool:
        """Whether the payload is what was committed."""
        return self._opened(event_key, payload, committed) is not None

    def _opened(self, event_key: str, payload: bytes, committed: str) -> bytes | None:
        try:
            plain = self._cipher.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], event_key.encode())
        except (InvalidTag, ValueError):
            return None
        return plain if commitment(plain) == committed else None

    def _hash(self, message: str) -> str:
        state = self._keyed.copy()
        state.update(message.encode())
        return state.hexdigest()


def refer(subject: Subject | None, refs: Mapping[str, str]) -> str | None:
    return None if subject is None else refs[subject.token]
