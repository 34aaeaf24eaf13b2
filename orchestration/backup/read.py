"""Reads a backup: verifies all of it, and unpacks it aside. Not here: putting it in place (`restore.py`)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from orchestration.backup.contents import belongs
from orchestration.backup.sealed import CHUNK, SealedReader
from orchestration.backup.write import FACTS, SUMS, Facts, Progress
from orchestration.errors import AssentError, VerifyError

SUMS_LIMIT = 1 << 30
Sums = dict[str, dict[str, Any]]


class Backup:
    """An open backup whose passphrase is right. Its `facts` are read; the rest follows in one pass."""

    def __init__(self, file: IO[bytes], passphrase: str, where: str) -> None:
        self._where = where
        self._sealed = SealedReader(file, passphrase, where)
        self._tar = self._opened()
        member = self._next()
        if member is None or member.name != FACTS:
            raise self._damaged()
        self.facts = Facts(**self._json(member))

    def unpack(self, folder: Path | None, progress: Progress) -> tuple[Sums, str]:
        """Verifies every member, and writes it below `folder` (None: nowhere). Returns bytes and SHA-256 of each, and
        the checksum of the whole. Raises VerifyError when anything is amiss: then `folder` holds nothing to be used."""
        found: Sums = {}
        said: Sums | None = None
        while (member := self._next()) is not None:
            if said is not None or member.name in found or not (member.name == SUMS or belongs(member.name)):
                raise self._damaged()
            if member.name == SUMS:
                said = self._json(member)
            else:
                found[member.name] = {"bytes": member.size, "sha256": self._copy(member, folder, progress)}
        digest = self._sealed.finish()
        if said is None or said != found:
            raise self._damaged()
        return found, digest

    def _opened(self) -> tarfile.TarFile:
        with contextlib.suppress(tarfile.TarError):
            return tarfile.open(fileobj=cast("IO[bytes]", self._sealed), mode="r|", bufsize=CHUNK)
        raise self._damaged()

    def _next(self) -> tarfile.TarInfo | None:
        member: tarfile.TarInfo | None = None
        is_damaged = False
        try:
            member = self._tar.next()
        except tarfile.TarError:
            is_damaged = True
        if is_damaged or (member is not None and not member.isreg()):
            raise self._damaged()
        return member

    def _file(self, member: tarfile.TarInfo) -> IO[bytes]:
        return cast("IO[bytes]", self._tar.extractfile(member))

    def _json(self, member: tarfile.TarInfo) -> dict[str, Any]:
        content: Any = None
        if member.size <= SUMS_LIMIT:
            content = json.loads(self._file(member).read())
        if not isinstance(content, dict):
            raise self._damaged()
        return content

    def _copy(self, member: tarfile.TarInfo, folder: Path | None, progress: Progress) -> str:
        digest = hashlib.sha256()
        path = Path(os.devnull) if folder is None else folder / member.name
        if folder is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._file(member) as sealed, path.open("wb") as out:
            while data := sealed.read(CHUNK):
                digest.update(data)
                out.write(data)
                progress(len(data))
        if folder is not None:
            os.utime(path, (member.mtime, member.mtime))  # which generation is older is told by it
        return digest.hexdigest()

    def _damaged(self) -> VerifyError:
        return VerifyError(
            "the backup does not hold what it should",
            where=self._where,
            remedy="Take another; nothing was put in place",
        )


@contextmanager
def open_backup(path: Path, passphrase: str) -> Iterator[Backup]:
    """Raises AssentError where there is no such file, VerifyError where it is no backup or the passphrase is wrong."""
    if not path.is_file():
        raise AssentError("there is no such file", where=str(path), remedy="Name a file that `assent backup` wrote")
    with path.open("rb") as file:
        yield Backup(file, passphrase, str(path))
