"""What a backup of a home holds and what it leaves out, each declared; anything else in the home is named, not guessed.

Not here: how it is copied (`copies.py`) and sealed (`sealed.py`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.warehouse.build import warehouse_file
from orchestration.warehouse.publish import published, release_path

FOLDERS = ("lake", "quarantine", "archive", "policies", "evidence")
FILES = ("home.json", "world.json")
COPIED = (
    "ledger.sqlite",
    "vault.sqlite",
    "requests.sqlite",
)  # files that others may be writing: online copies are taken of them
WAREHOUSE = "warehouse"  # of it the generation in force
LEFT_OUT = {
    "keys": "kept apart, see `assent keys backup`",
    "landing": "belongs to the sources",
    "outbox": "handed out already; `assent export` writes it again",
    "dagster": "the history of runs",
    "tmp": "of runs in progress",
    "warehouse/building": "of runs in progress",
    "warehouse/ledger": "made again from the ledger",
    "warehouse/identity": "made again by the next build",
    "lock": "of runs in progress",
    "work.sqlite": "steps that are done here are not done in what is restored: they begin again",
    "work.sqlite-journal": "of a step in progress",
    "restoring.json": "of a restore in progress",
    **{f"{name}-{kind}": "in the copy" for name in COPIED for kind in ("wal", "shm", "journal")},
    ".gitkeep": "empty",
    ".gitignore": "not Assent's",
}
SUPERSEDED = "a generation no longer in force"


@dataclass(frozen=True)
class Contents:
    """What goes in as it lies; what stays out, and why; what nobody declared, which stays out too. Names are relative
    to the home. Online copies go in beside."""

    files: tuple[Path, ...]
    left_out: dict[str, str]
    unknown: tuple[str, ...]


def list_contents(home: Home) -> Contents:
    """What is in the home now. Call it with the home's lock held."""
    files: list[Path] = []
    unknown: list[Path] = []
    left_out = {name: why for name, why in LEFT_OUT.items() if (home.root / name).exists()}
    for path in sorted(home.root.iterdir()):
        if path.name in FOLDERS and path.is_dir() and not path.is_symlink():
            for found in _below(path):
                (files if _is_plain(found) else unknown).append(found)
        elif path.name in FILES and _is_plain(path):
            files.append(path)
        elif path.name not in (*LEFT_OUT, *COPIED, WAREHOUSE):
            unknown.append(path)
    in_force = _generation_in_force(home)
    for path in _below(home.warehouse):
        if path in in_force:
            files.append(path)
        elif path.parent == home.warehouse and path.name.endswith((".duckdb", ".release.json", "published.json")):
            left_out[path.relative_to(home.root).as_posix()] = SUPERSEDED
        elif not any(path.is_relative_to(home.root / name) for name in left_out):
            unknown.append(path)
    names = tuple(path.relative_to(home.root).as_posix() for path in unknown)
    return Contents(tuple(files), left_out, names)


def belongs(name: str) -> bool:
    """Whether a backup may hold a member of this name: nothing else is ever unpacked, wherever it would land."""
    parts = name.split("/")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return False
    return name in (*FILES, *COPIED) or (len(parts) > 1 and parts[0] in (*FOLDERS, WAREHOUSE))


def _below(folder: Path) -> Iterator[Path]:
    """Everything below that is no folder; links to folders are not followed."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
        else:
            yield path


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _generation_in_force(home: Home) -> set[Path]:
    """Its file, receipt and pointer; nothing where the generation is damaged, as a build makes it again."""
    with contextlib.suppress(HomeError):
        current = published(home)
        if current is not None:
            name = current.generation
            return {home.published, warehouse_file(home, name), release_path(home, name)}
    return set()
