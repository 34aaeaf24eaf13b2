"""The master keys of a home and what is derived from them. Keys of single people are in `keys.py`.

The first names people, for good: a token never changes. The latest seals: `assent keys rotate` adds one, and what was
sealed before still opens (fault D8). A key is never made anew where one existed: without it nothing old could be
recognised, or deleted (fault D7)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orchestration.atomic import fsync_folder, write_bytes
from orchestration.errors import HomeError
from orchestration.home import Home

KEY_BYTES = 32
SALT = b"assent/1"
BACKUP_ADVICE = "New keys were made. Run `assent keys backup FILE` and keep that file apart from the home"


class Cipher:
    """AES-256-GCM for one use. Seals with the latest master key, opens with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._latest, *self._earlier = [AESGCM(key) for key in keys]
        self.encrypt = self._latest.encrypt

    def decrypt(self, nonce: bytes, sealed: bytes, bound: bytes | None) -> bytes:
        """Raises InvalidTag where no key opens it."""
        for cipher in self._earlier:
            with contextlib.suppress(InvalidTag):
                return cipher.decrypt(nonce, sealed, bound)
        return self._latest.decrypt(nonce, sealed, bound)


@dataclass(frozen=True)
class Keys:
    """The master keys, the first apart. Nothing else reads them, so no two uses share a key; `repr` never shows them
    (fault D10)."""

    master: bytes = field(repr=False)
    created: bool = False
    later: tuple[bytes, ...] = field(default=(), repr=False)  # of rotations, the latest last

    @classmethod
    def open(cls, home: Home) -> Keys:
        """The keys of `home`, made on first use (`created`). Raises HomeError where they are lost, damaged or wrong."""
        info = home.info
        if info.kind == "demo":
            keys = cls.from_seed(info.seed or 0)
        elif home.master_key.is_file():
            keys = cls.of_text(_read(home.master_key), where=home.master_key)
        elif info.keys_check is not None or home.keys_db.exists():
            raise HomeError(
                "the master key is lost",
                where=str(home.master_key),
                remedy="Restore it with `assent keys restore FILE`; Assent never makes another one for old data",
            )
        else:
            keys = _create(home.master_key)
        if info.keys_check is None or info.keys_check in keys.checks[:-1]:  # the latter: a rotation was interrupted
            home.update(keys_check=keys.check)
        elif info.keys_check != keys.check:
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

    @classmethod
    def of_text(cls, text: str, *, where: Path) -> Keys:
        """The keys of master.key: one line of hexadecimal digits for each, the first one first."""
        try:
            first, *later = [bytes.fromhex(line) for line in text.split()]
            if all(len(key) == KEY_BYTES for key in (first, *later)):
                return cls(first, later=tuple(later))
        except ValueError:
            pass
        raise HomeError(
            "the master key is damaged", where=str(where), remedy="Restore it with `assent keys restore FILE`"
        )

    @property
    def text(self) -> str:
        """What master.key holds. Secret."""
        return "".join(f"{key.hex()}\n" for key in (self.master, *self.later))

    def derive(self, label: str) -> bytes:
        """32 bytes for one use that has to stay the same for good: names and signatures."""
        return _derive(self.master, label)

    def cipher(self, label: str) -> Cipher:
        """What seals and opens for one use."""
        return Cipher([_derive(key, label) for key in reversed((self.master, *self.later))])

    @property
    def id(self) -> str:
        """A check value of the first key: tells keys apart and gives nothing away."""
        return self.checks[0]

    @property
    def check(self) -> str:
        """A check value of the latest key: what a home needs to open all that it holds."""
        return self.checks[-1]

    @property
    def checks(self) -> list[str]:
        return [_derive(key, "check value").hex()[:16] for key in (self.master, *self.later)]

    def rotated(self) -> Keys:
        return replace(self, later=(*self.later, secrets.token_bytes(KEY_BYTES)))


def _derive(key: bytes, label: str) -> bytes:
    """HKDF-SHA256, RFC 5869."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=SALT, info=label.encode()).derive(key)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _create(path: Path) -> Keys:
    """A new key at `path`; where another process was faster, its key. Linking never replaces an existing key."""
    keys = Keys(secrets.token_bytes(KEY_BYTES), created=True)
    aside = path.with_name(f"tmp_{path.name}.{os.getpid()}")
    write_bytes(aside, keys.text.encode())
    try:
        os.link(aside, path)
    except FileExistsError:
        keys = Keys.of_text(_read(path), where=path)
    finally:
        aside.unlink()
    fsync_folder(path.parent)
    return keys
