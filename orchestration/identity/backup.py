"""Backups of a home's keys: the master key and the registry, sealed with a passphrase (scrypt, AES-256-GCM).

A backup outlives an erasure until it is deleted, so it stays apart from backups of the home and is renewed often."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from base64 import b64decode, b64encode
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestration.atomic import write_bytes
from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.identity.keys import NONCE_BYTES, Keys
from orchestration.identity.passphrase import SALT_BYTES, require_long, stretch

MAGIC = b"assent keys 1\n"


@dataclass(frozen=True)
class Restored:
    """What a restore wrote; what was already there was left alone."""

    master_key: bool
    registry: bool


def write_backup(home: Home, keys: Keys, path: Path, passphrase: str) -> None:
    """Writes the keys of `home` to `path` (0600), sealed. Refuses a short passphrase and a path inside the home."""
    require_long(passphrase, "keys backup")
    if home.root.resolve() in path.resolve().parents:
        raise AssentError("a backup inside the home is lost with it", where=str(path), remedy="Choose another folder")
    registry = b64encode(zlib.compress(_snapshot(home.keys_db))).decode() if home.keys_db.is_file() else None
    payload = json.dumps({"keys_check": keys.check, "masters": keys.text, "registry": registry}).encode()
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    sealed = AESGCM(stretch(passphrase, salt)).encrypt(nonce, payload, MAGIC)
    failed = ""
    try:
        write_bytes(path, MAGIC + salt + nonce + sealed)
    except OSError as error:
        failed = error.strerror or "cannot write"
    if failed:
        raise AssentError(failed, where=str(path), remedy="Choose another file")


def restore_backup(home: Home, path: Path, passphrase: str) -> Restored:
    """Puts back the master key and the registry where they are missing. Refuses the keys of another home."""
    content = _unseal(path, passphrase)
    keys = Keys.of_text(content["masters"] or "", where=path)
    if home.info.kind == "demo":
        raise HomeError("a demo's keys come from its seed", where=str(home.root), remedy="There is nothing to restore")
    if home.info.keys_check not in (None, keys.check):
        raise HomeError(
            "the backup is of another home, or older than the last rotation of its keys",
            where=str(path),
            remedy="Use the newest backup of this home's keys",
        )
    has_key = home.master_key.is_file() and home.master_key.read_text("ascii", errors="replace") == keys.text
    if not has_key:
        write_bytes(home.master_key, keys.text.encode())
    has_registry = home.keys_db.is_file() or content["registry"] is None
    if not has_registry:
        write_bytes(home.keys_db, zlib.decompress(b64decode(content["registry"] or "")))
    home.update(keys_check=keys.check)
    return Restored(master_key=not has_key, registry=not has_registry)


def _unseal(path: Path, passphrase: str) -> dict[str, str | None]:
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    if not data.startswith(MAGIC):
        raise AssentError("not a backup of keys", where=str(path), remedy="Name the file that `keys backup` wrote")
    data = data.removeprefix(MAGIC)
    salt, nonce, sealed = (
        data[:SALT_BYTES],
        data[SALT_BYTES : SALT_BYTES + NONCE_BYTES],
        data[SALT_BYTES + NONCE_BYTES :],
    )
    try:
        content: dict[str, str | None] = json.loads(AESGCM(stretch(passphrase, salt)).decrypt(nonce, sealed, MAGIC))
        return content
    except (InvalidTag, ValueError):
        pass
    raise AssentError("the passphrase is wrong or the file is damaged", where=str(path), remedy="Try again")


def _snapshot(path: Path) -> bytes:
    """A consistent copy of a SQLite file, made in memory."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        return copy.serialize()
