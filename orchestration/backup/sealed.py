"""The container of a backup: one encrypted stream that is whole or is refused. Not here: what is in it.

Chunks are sealed with AES-256-GCM under a key that scrypt makes of the passphrase and a salt of this file alone (the
STREAM construction, Hoang et al. 2015): number and last-flag are in the nonce, the header is bound to each chunk, so
that a chunk cut off, moved, doubled or taken from another file is found. A SHA-256 of all that precedes it ends it."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestration.errors import VerifyError
from orchestration.identity.passphrase import SALT_BYTES, stretch

MAGIC = b"assent backup 1\n"
CHUNK = 1 << 20
HEADER_LIMIT = 4096
FRAME = struct.Struct(">I?")  # bytes of the sealed chunk, whether it is the last
TAG_BYTES = 16
DIGEST_BYTES = 32
DAMAGED = "the passphrase is wrong or the file is damaged"


class SealedWriter:
    """Seals what is written to it. Without `finish` the file stays one that nothing opens."""

    def __init__(self, file: IO[bytes], passphrase: str, **said: str) -> None:
        """`said` stands in the header: readable without the passphrase, but not to be altered."""
        salt = os.urandom(SALT_BYTES)
        header = json.dumps({**said, "salt": salt.hex()}, sort_keys=True).encode()
        self._file, self._digest, self._header = file, hashlib.sha256(), header
        self._cipher = AESGCM(stretch(passphrase, salt))
        self._pending, self._number = bytearray(), 0
        self._put(MAGIC + struct.pack(">I", len(header)) + header)

    def write(self, data: bytes) -> int:
        self._pending += data
        while len(self._pending) > CHUNK:  # the last chunk is known only at the end, so one is always held back
            self._seal(bytes(self._pending[:CHUNK]), is_last=False)
            del self._pending[:CHUNK]
        return len(data)

    def finish(self) -> str:
        """Seals the last chunk and writes the checksum. Returns the SHA-256 (hex) that ends the file."""
        self._seal(bytes(self._pending), is_last=True)
        digest = self._digest.digest()
        self._file.write(digest)
        return digest.hex()

    def _seal(self, plain: bytes, *, is_last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, is_last), plain, self._header)
        self._put(FRAME.pack(len(sealed), is_last) + sealed)
        self._number += 1

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class SealedReader:
    """Reads it back. Raises VerifyError at the first byte that is not what was written, or at an end too early."""

    def __init__(self, file: IO[bytes], passphrase: str, where: str) -> None:
        self._file, self._where, self._digest = file, where, hashlib.sha256()
        self._header = self._read_header()
        self.said: dict[str, Any] = self._parsed()
        self._cipher = AESGCM(stretch(passphrase, bytes.fromhex(self.said["salt"])))
        self._ready, self._number, self._ended = b"", 0, False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        parts = []
        while size:
            if not self._ready:
                if self._ended:
                    break
                self._ready = self._open()
                continue
            part, self._ready = self._ready[:size], self._ready[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def finish(self) -> str:
        """Reads on to the end and verifies the checksum; returns it (hex)."""
        while self.read(CHUNK):
            pass
        digest = self._digest.digest()
        if self._file.read(DIGEST_BYTES + 1) != digest:
            raise self._damaged("the checksum does not fit")
        return digest.hex()

    def _open(self) -> bytes:
        plain: bytes | None = None
        try:
            size, self._ended = FRAME.unpack(self._get(FRAME.size))
            if size <= CHUNK + TAG_BYTES:
                plain = self._cipher.decrypt(_nonce(self._number, self._ended), self._get(size), self._header)
        except (InvalidTag, struct.error, ValueError):
            pass
        if plain is None:
            raise self._damaged(DAMAGED if self._number == 0 else "the file is damaged or cut off")
        self._number += 1
        return plain

    def _read_header(self) -> bytes:
        start = self._get(len(MAGIC) + 4)
        size = int.from_bytes(start[len(MAGIC) :], "big")
        if not start.startswith(MAGIC) or not 0 < size <= HEADER_LIMIT:
            raise VerifyError("not a backup", where=self._where, remedy="Name a file that `assent backup` wrote")
        return self._get(size)

    def _parsed(self) -> dict[str, Any]:
        said: Any = None
        try:
            said = json.loads(self._header)
            bytes.fromhex(said["salt"])
        except (ValueError, KeyError, TypeError):
            said = None
        if not isinstance(said, dict):
            raise self._damaged("the file is damaged")
        return said

    def _get(self, size: int) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def _damaged(self, what: str) -> VerifyError:
        return VerifyError(
            what, where=self._where, remedy="Try again, or take another backup; nothing was put in place"
        )


def _nonce(number: int, is_last: bool) -> bytes:
    return struct.pack(">7xI?", number, is_last)
