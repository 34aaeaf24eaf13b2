"""The master key of a home and what is derived from it. Keys of single people are in `keys.py`.

A key is never made anew where one existed: without it nothing old could be recognised, or deleted (fault D7)."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orchestration.atomic import fsync_folder, write_bytes
from orchestration.errors import HomeError
from orchestration.home import Home

KEY_BYTES = 32
SALT = b"assent/1"
BACKUP_ADVICE = "New keys were made. Run `assent keys backup FILE` and keep that file apart from the home"


@dataclass(frozen=True)
class Keys:
    """A master key. Only `derive` reads it, so no two uses share a key; `repr` never shows it (fault D10)."""

    master: bytes = field(repr=False)
    created: bool = False

    @classmethod
    def open(cls, home: Home) -> Keys:
        """The keys of `home`, made on first use (`created`). Raises HomeError where they are lost, damaged or wrong."""
        info = home.info
        if info.kind == "demo":
            keys = cls.from_seed(info.seed or 0)
        elif home.master_key.is_file():
            keys = cls(_read(home.master_key))
        elif info.keys_check is not None or home.keys_db.exists():
            raise HomeError(
                "the master key is lost",
                where=str(home.master_key),
                remedy="Restore it with `assent keys restore FILE`; Assent never makes another one for old data",
            )
        else:
            keys = cls(_create(home.master_key), created=True)
        if info.keys_check is None:
            home.update(keys_check=keys.id)
        elif info.keys_check != keys.id:
            raise HomeError(
                "this is not the key that the home was made with",
                where=str(home.master_key),
                remedy="Put the right key back (`assent keys restore FILE`); nothing was written",
            )
        return keys

    @classmethod
    def from_seed(cls, seed: int) -> Keys:
        """The keys of a demo: everyone can compute them, so a demo home holds no real data."""
        return cls(hashlib.sha256(f"assent demo {seed}".encode()).digest())

    def derive(self, label: str) -> bytes:
        """32 bytes for one use (HKDF-SHA256, RFC 5869)."""
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=SALT, info=label.encode()).derive(self.master)

    @property
    def id(self) -> str:
        """A check value: tells keys apart and gives nothing away."""
        return self.derive("check value").hex()[:16]


def _read(path: Path) -> bytes:
    try:
        master = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        master = b""
    if len(master) != KEY_BYTES:
        raise HomeError(
            "the master key is damaged", where=str(path), remedy="Restore it with `assent keys restore FILE`"
        )
    return master


def _create(path: Path) -> bytes:
    """A new key at `path`; where another process was faster, its key. Linking never replaces an existing key."""
    master = secrets.token_bytes(KEY_BYTES)
    aside = path.with_name(f"tmp_{path.name}.{os.getpid()}")
    write_bytes(aside, master.hex().encode() + b"\n")
    try:
        os.link(aside, path)
    except FileExistsError:
        master = _read(path)
    finally:
        aside.unlink()
    fsync_folder(path.parent)
    return master
