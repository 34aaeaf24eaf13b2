"""Seals the deletable detail of a ledger record, and recognises events again by keyed hashes. Not here: the chain."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestration.consent.chain import commitment
from orchestration.consent.models import Record, Subject, microseconds
from orchestration.identity.keys import Keys

NONCE_BYTES = 12
SALT_BYTES = 16
HASH_BYTES = 16
_SEPARATOR = "\x1f"
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode


@dataclass(frozen=True)
class Detail:
    """The detail of one record: the feed's own event id, the hash of the body as delivered, and the rest."""

    event_id: str
    body: str
    rest: dict[str, str]


class DetailSealer:
    """Encrypts details, each bound to its event, with commitments that the chain keeps."""

    def __init__(self, keys: Keys) -> None:
        self._cipher = AESGCM(keys.derive("ledger-detail"))
        self._key = keys.derive("ledger-events")

    def event_key(self, *parts: str) -> str:
        """What makes an event unique for ever, also after its detail is erased."""
        return self._hash(_SEPARATOR.join(parts))

    def body(self, record: Record) -> str:
        """A keyed hash of everything that the feed said in this record; batch and arrival are not part of it."""
        values = [
            *(record.type, record.subject, record.controller, record.purpose, record.category, record.recipient),
            *(record.channel, record.decision, record.basis, record.method, record.is_separate, record.is_guardian),
            *(record.notice_id, record.notice_version, record.notice_language, record.locale),
            *(record.jurisdiction,),
            *(record.fact, record.state, record.other, record.until and microseconds(record.until)),
            *(microseconds(record.effective_at), dict(record.detail)),
        ]
        return self._hash(_encode(values))

    def seal(self, event_key: str, event_id: str, body: str, rest: Mapping[str, str]) -> tuple[bytes, str]:
        """The payload for the side table and the commitment for the chain."""
        random = os.urandom(NONCE_BYTES + SALT_BYTES)
        nonce, salt = random[:NONCE_BYTES], random[NONCE_BYTES:]
        plain = salt + _encode((event_id, body, dict(rest))).encode("ascii")
        return nonce + self._cipher.encrypt(nonce, plain, event_key.encode()), commitment(plain)

    def open(self, event_key: str, payload: bytes, committed: str) -> Detail | None:
        """The detail, or None where the payload is not what was committed."""
        try:
            plain = self._cipher.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], event_key.encode())
        except (InvalidTag, ValueError):
            return None
        if commitment(plain) != committed:
            return None
        event_id, body, rest = json.loads(plain[SALT_BYTES:])
        return Detail(event_id, body, rest)

    def _hash(self, message: str) -> str:
        return hashlib.blake2b(message.encode(), key=self._key, digest_size=HASH_BYTES).hexdigest()


def refer(subject: Subject | None, refs: Mapping[str, str]) -> str | None:
    return None if subject is None else refs[subject.token]
