"""Writes a backup: what `contents.py` lists, of one moment, as members of a tar stream inside the sealed container.

Not here: what the command line says of it (`commands.py`)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from orchestration.atomic import replace
from orchestration.backup.contents import COPIED, Contents, list_contents
from orchestration.backup.copies import Head, copy_ledger, copy_sqlite, verified_head
from orchestration.backup.sealed import CHUNK, SealedWriter
from orchestration.consent.anchoring.anchor import Anchor, anchor_folder
from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.passphrase import require_long
from orchestration.settings import LedgerAt

FACTS, SUMS = "backup.json", "sums.json"  # the first member and the last
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Facts:
    """What a backup says of itself, sealed in it."""

    home_id: str
    keys_check: str
    created_at: str
    ledger_seq: int
    ledger_head: str


@dataclass(frozen=True)
class BackupReport:
    """What was written."""

    file: str
    bytes: int
    sha256: str  # of all but the last 32 bytes, which hold it
    members: int
    facts: Facts
    left_out: dict[str, str]
    unknown: tuple[str, ...]


def write_backup(
    home: Home,
    keys: Keys,
    file: Path,
    passphrase: str,
    *,
    at: LedgerAt,
    now: datetime,
    started: Callable[[int], Progress],
) -> BackupReport:
    """Writes the backup of `home` to `file` (0600), aside and renamed. Hold the home's lock. `started` hears how many
    bytes there are, and gives what hears how many went in. Refuses a place inside the home or its anchor."""
    require_long(passphrase, "backup")
    _refuse_inside(file, (home.root, anchor_folder(home, at)))
    with _copies(home, keys, at, now) as (copies, head):
        contents = list_contents(home)
        members = [*contents.files, *copies]
        names = [_name(home, path) for path in contents.files] + [path.name for path in copies]
        info = home.info
        facts = Facts(info.home_id or "", keys.check, now.isoformat(), head[0], head[1])
        progress = started(sum(path.stat().st_size for path in members))
        with _aside(file) as out:
            sealed = SealedWriter(out, passphrase, created_at=facts.created_at)
            _write_members(sealed, facts, list(zip(names, members, strict=True)), progress)
            digest = sealed.finish()
        return _report(file, digest, facts, contents, len(members))


def _report(file: Path, digest: str, facts: Facts, contents: Contents, members: int) -> BackupReport:
    size = file.stat().st_size
    return BackupReport(str(file), size, digest, members, facts, contents.left_out, contents.unknown)


def _refuse_inside(file: Path, folders: tuple[Path, ...]) -> None:
    for folder in folders:
        if file.resolve().is_relative_to(folder.resolve()):
            raise AssentError(
                f"a backup inside {folder.name} is lost with it", where=str(file), remedy="Choose another folder"
            )


@contextmanager
def _copies(home: Home, keys: Keys, at: LedgerAt, now: datetime) -> Iterator[tuple[list[Path], Head]]:
    """Online copies, the ledger first: whoever writes beside us keeps contacts first, then records."""
    folder = Path(tempfile.mkdtemp(prefix="backup.", dir=home.tmp))
    try:
        copies = [ledger, vault, requests] = [folder / name for name in COPIED]
        _copy_signed(home, keys, at, now, ledger)
        if home.vault_db.is_file():
            copy_sqlite(home.vault_db, vault)
        if home.requests_db.is_file():
            copy_sqlite(home.requests_db, requests)
        yield [copy for copy in copies if copy.is_file()], verified_head(ledger)
    finally:
        shutil.rmtree(folder)


def _copy_signed(home: Home, keys: Keys, at: LedgerAt, now: datetime, target: Path) -> None:
    """The ledger at a head that its anchor has signed, which is what a restore asks for. No writer gets between."""
    anchor = Anchor(home, keys, at)
    with open_ledger(home, keys, at) as (ledger, registry), anchor.writing(registry, now) as pen:
        head = ledger.head()
        pen.begin(head, ledger.holds)
        copy_ledger(at.url or home.ledger_db, target)
        pen.sign(head)


@contextmanager
def _aside(file: Path) -> Iterator[IO[bytes]]:
    """A file beside `file` that takes its name when it is whole."""
    failed, name = "", ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"tmp_{file.name}.", dir=file.parent)
        with os.fdopen(descriptor, "wb") as out:
            yield out
        replace(Path(name), file)
    except OSError as error:
        failed = error.strerror or "cannot write"
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
    if failed:
        raise AssentError(f"the backup cannot be written ({failed})", where=str(file), remedy="Choose another file")


def _write_members(sealed: SealedWriter, facts: Facts, members: list[tuple[str, Path]], progress: Progress) -> None:
    sums: dict[str, dict[str, Any]] = {}
    with tarfile.open(fileobj=cast("IO[bytes]", sealed), mode="w|", bufsize=CHUNK, format=tarfile.PAX_FORMAT) as tar:
        _add_json(tar, FACTS, asdict(facts))
        for name, path in members:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                counted = _Hashed(file, progress)
                tar.addfile(_member(name, status.st_size, status.st_mtime), cast("IO[bytes]", counted))
            sums[name] = {"bytes": status.st_size, "sha256": counted.hexdigest()}
        _add_json(tar, SUMS, sums)


def _add_json(tar: tarfile.TarFile, name: str, content: dict[str, Any]) -> None:
    data = json.dumps(content, sort_keys=True).encode()
    tar.addfile(_member(name, len(data), 0), io.BytesIO(data))


def _member(name: str, size: int, modified: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, int(modified), 0o600
    return member


def _name(home: Home, path: Path) -> str:
    return path.relative_to(home.root).as_posix()


class _Hashed:
    """A file that hashes and counts what is read of it."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self._file, self._progress, self._digest = file, progress, hashlib.sha256()
        self.hexdigest = self._digest.hexdigest

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        self._progress(len(data))
        return data
