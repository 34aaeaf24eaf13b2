"""The home: the one folder that holds everything written at run time, private to its owner, with one lock.

Not here: what the files in it mean."""

from __future__ import annotations

import fcntl
import grp
import json
import os
import resource
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestration.atomic import fsync_folder, write_json
from orchestration.errors import HomeError

# What may lie in a folder that becomes a home: a company mounts landing, Dagster makes its storage first.
MAY_BE_THERE_FIRST = {"landing", "dagster", ".gitkeep", ".gitignore"}
FOLDERS = (
    "landing", "lake", "quarantine", "archive", "keys", "policies",
    "warehouse", "building", "evidence", "outbox", "dagster", "tmp",
)  # fmt: skip
PRIVATE_FILES = ("keys_db", "vault_db", "ledger_db", "work_db", "requests_db")

_held: dict[Path, tuple[int, int, IO[str]]] = {}  # lock file → (thread, depth, open file)


class HomeFile(BaseModel):
    """What `home.json` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: Literal["company", "demo"] = "company"
    seed: int | None = None
    keys_check: str | None = None  # a value that only the right master key gives; not secret
    home_id: str | None = None  # names the folder of this home in its anchor
    anchored: bool = False  # once it is, a home without its anchor is refused


@dataclass(frozen=True)
class Home:
    """Paths under one root. `open` is the way in: it makes, checks and protects the folder."""

    root: Path

    @classmethod
    def open(cls, root: Path, *, create: bool = True, demo_seed: int | None = None, restoring: bool = False) -> Home:
        """The home at `root`; a new one is made where `create`. With `demo_seed` it is (or must be) that demo's home.
        Only a restore (`restoring`) opens one whose restore has not ended.

        Sets the umask of this process to 077, and that neither it nor what it starts leaves a core dump: one would hold
        whatever was in memory (fault E7). Raises HomeError when the folder is no home, of another kind, not ours, or
        readable by others."""
        os.umask(0o077)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        home = cls(root.expanduser().absolute())
        if home.is_restoring and not restoring:
            raise HomeError(
                "a restore of this home has not ended",
                where=str(root),
                remedy="Run `assent restore FILE` again; nothing may use the home before",
            )
        if not home.file.is_file() and not restoring:
            if not create:
                raise HomeError(
                    "there is no home here", where=str(root), remedy="Run `assent demo` or `assent keys init`"
                )
            home._make(demo_seed)
        home._refuse_others()
        home._make_folders()
        if demo_seed is not None and (home.info.kind, home.info.seed) != ("demo", demo_seed):
            raise HomeError("this home is not that demo's", where=str(root), remedy="Use another --home for the demo")
        return home

    @property
    def file(self) -> Path:
        return self.root / "home.json"

    @property
    def restoring(self) -> Path:
        """Stands in the place of home.json while a restore is under way."""
        return self.root / "restoring.json"

    @property
    def info(self) -> HomeFile:
        try:
            return HomeFile.model_validate(json.loads(self.file.read_bytes()))
        except (OSError, ValueError, ValidationError):
            pass
        raise HomeError("home.json is damaged", where=str(self.root), remedy="Restore it from a backup")

    @property
    def is_restoring(self) -> bool:
        return self.restoring.is_file()

    def begin_restore(self) -> None:
        """From here to `end_restore` the folder is no home for anybody else, after a crash too."""
        if not self.is_restoring:
            self.file.replace(self.restoring)
            fsync_folder(self.root)

    def end_restore(self, file: Path) -> None:
        """Makes it a home again, with `file` as its home.json. Everything else must be durable before."""
        file.replace(self.restoring)
        self.restoring.replace(self.file)
        fsync_folder(self.root)

    def update(self, **changes: str | int | None) -> None:
        """Rewrites home.json with `changes`."""
        write_json(self.file, HomeFile.model_validate({**self.info.model_dump(), **changes}).model_dump())

    def _make(self, demo_seed: int | None) -> None:
        present = {path.name for path in self.root.iterdir()} if self.root.is_dir() else set()
        if present - MAY_BE_THERE_FIRST:
            raise HomeError(
                "the folder is not empty and is no home",
                where=str(self.root),
                remedy="Choose an empty folder as --home",
            )
        home_id = secrets.token_hex(16)
        kind: Literal["company", "demo"] = "company" if demo_seed is None else "demo"
        info = HomeFile(kind=kind, seed=demo_seed, home_id=home_id)
        failed = ""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            write_json(self.file, info.model_dump())
        except OSError as error:
            failed = error.strerror or "cannot write"
        if failed:
            raise HomeError(f"the home cannot be made ({failed})", where=str(self.root), remedy="Choose another --home")

    def _make_folders(self) -> None:
        failed = ""
        try:
            for path in (getattr(self, name) for name in FOLDERS):
                if not path.is_dir():
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            failed = error.strerror or "cannot write"
        if failed:
            raise HomeError(
                f"the home cannot be written ({failed})", where=str(self.root), remedy="Check owner and mode"
            )

    def _refuse_others(self) -> None:
        """Refuses what others own or may read (fault G3). The root may let a group pass through to outbox/: 0710."""
        folders = [(getattr(self, name), 0o077) for name in FOLDERS if name not in ("outbox", "landing")]
        files = [(getattr(self, name), 0o077) for name in PRIVATE_FILES] + [
            (self.file, 0o077),
            (self.master_key, 0o077),
        ]
        for path, forbidden in [(self.root, 0o067), (self.outbox, 0o027), *folders, *files]:
            if not path.exists():
                continue
            status = path.stat()
            if status.st_uid != os.geteuid():
                raise HomeError("it belongs to another user", where=str(path), remedy="Run as the owner of the home")
            if stat.S_IMODE(status.st_mode) & forbidden:
                remedy = f"Run: chmod {'700' if path.is_dir() else '600'} {path}"
                raise HomeError("others may read it", where=str(path), remedy=remedy)

    def share_outbox(self, group: str | None) -> None:
        """Lets the POSIX group that policy names take files from outbox/, and nobody else (None: nobody)."""
        if group is None:
            self.outbox.chmod(0o700)
            self.root.chmod(0o700)
            return
        failed = ""
        try:
            gid = grp.getgrnam(group).gr_gid
            os.chown(self.root, -1, gid)
            os.chown(self.outbox, -1, gid)
            self.root.chmod(0o710)
            self.outbox.chmod(0o2750)
        except KeyError:
            failed = "the group does not exist"
        except OSError as error:
            failed = error.strerror or "not permitted"
        if failed:
            raise HomeError(
                f"outbox/ cannot be shared with the group ({failed})",
                where="organisation.yaml: outbox_group",
                remedy="Name a group that exists and that this user belongs to",
            )

    def check_landing(self, landing: Path) -> None:
        """A demo home takes files from its own landing folder only: its keys are no secret."""
        if self.info.kind == "demo" and landing.resolve() != self.landing.resolve():
            raise HomeError(
                "a demo home refuses any landing folder but its own: its keys come from its seed",
                where=str(self.root),
                remedy="Use another --home for real data",
            )

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        """Holds the one lock of the home, from ingestion to publication. The thread that holds it may enter again.

        Raises HomeError naming the process that holds it when it is not free within `timeout` seconds."""
        me, path = threading.get_ident(), self.lock_file
        if path in _held and _held[path][0] == me:
            file, depth = _held[path][2], _held[path][1]
            _held[path] = (me, depth + 1, file)
        else:
            _held[path] = (me, 1, self._acquire(time.monotonic() + timeout))
        try:
            yield
        finally:
            _, depth, file = _held[path]
            if depth > 1:
                _held[path] = (me, depth - 1, file)
            else:
                del _held[path]
                file.close()  # closing releases the flock; so does the death of the process

    def _acquire(self, deadline: float) -> IO[str]:
        file = os.fdopen(os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = file.read().strip()
                file.seek(0)
            if time.monotonic() >= deadline:
                file.close()
                who = f"process {holder}" if holder.isdecimal() else "another process"
                raise HomeError(
                    f"{who} is using this home", where=str(self.root), remedy="Wait until it ends, then run again"
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return file

    def sweep(self) -> None:
        """Removes what a killed run left in tmp and building. Call it with the lock held."""
        for folder in (self.tmp, self.building):
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def archive(self) -> Path:
        """Encrypted copies of landing files."""
        return self.root / "archive"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def master_key(self) -> Path:
        return self.keys / "master.key"

    @property
    def keys_db(self) -> Path:
        return self.keys / "keys.sqlite"

    @property
    def vault_db(self) -> Path:
        return self.root / "vault.sqlite"

    @property
    def ledger_db(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def work_db(self) -> Path:
        """Which steps of purges and erasures are done."""
        return self.root / "work.sqlite"

    @property
    def requests_db(self) -> Path:
        """What people have asked for, and how far it is."""
        return self.root / "requests.sqlite"

    @property
    def policies(self) -> Path:
        """Policies by hash: archived, and prepared for dbt."""
        return self.root / "policies"

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse"

    @property
    def building(self) -> Path:
        return self.warehouse / "building"

    @property
    def published(self) -> Path:
        """The pointer to the generation in force."""
        return self.warehouse / "published.json"

    @property
    def evidence(self) -> Path:
        return self.root / "evidence"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"
