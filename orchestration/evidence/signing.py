"""Signs evidence with the key of the anchor: an auditor verifies it with the anchor's public.pem, without the home.

Not here: what the evidence says."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestration.identity.keys import Keys

DOMAIN = b"assent evidence 1\n"  # so that no line of the anchor is ever taken for evidence, or the other way round


def signed(content: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """`content` with the id of the key and its signature (Ed25519) over the canonical JSON of all else."""
    key = Ed25519PrivateKey.from_private_bytes(keys.derive("anchor signing"))
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    named = {**content, "key_id": hashlib.sha256(raw).hexdigest()[:16]}
    return {**named, "signature": key.sign(DOMAIN + _canonical(named)).hex()}


def is_signed(content: dict[str, Any], public: Ed25519PublicKey) -> bool:
    """Whether it is, byte for byte, what was signed."""
    unsigned = {name: value for name, value in content.items() if name != "signature"}
    try:
        public.verify(bytes.fromhex(str(content.get("signature"))), DOMAIN + _canonical(unsigned))
    except (InvalidSignature, ValueError):
        return False
    return True


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
