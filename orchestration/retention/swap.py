"""Puts what is left of files in their place, so that a kill anywhere leaves each file whole and every row explained.

The order is: what is left lies durably beside the old file, under a name of its own that no manifest lists; the note
of the removal; the manifests; only then the old file goes. Again after a kill gives the same. Not here: which rows go
(`rewrite.py`), and how a file is written without them (`strip.py`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from orchestration.atomic import fsync_folder, replace
from orchestration.evidence.removed import RemovedFile, note_removed
from orchestration.home import Home
from orchestration.ingestion.durable import settle
from orchestration.ingestion.lake import Manifest, write_manifests
from orchestration.ingestion.lake import sweep as sweep_sources
from orchestration.warehouse.gate import file_sha256

Why = Literal["erasure", "retention"]


@dataclass(frozen=True)
class Change:
    """One file of the lake (its name there), how many of its rows go, and where what is left of it was written (None:
    nothing is left)."""

    name: str
    rows: int
    aside: Path | None


@contextmanager
def written_aside(home: Home, name: str) -> Iterator[Path]:
    """A folder for what is written aside; what a killed call left in it goes first."""
    folder = home.tmp / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def swap(home: Home, batches: Sequence[Manifest], changes: Sequence[Change], why: Why, *, now: datetime) -> None:
    """Replaces the files of `batches` that `changes` name. Hold the home's lock."""
    if not changes:
        return
    lake = home.lake.relative_to(home.root).as_posix()
    notes, moves, names = [], [], dict[str, str | None]()
    for change in changes:
        sha256 = None if change.aside is None else file_sha256(change.aside)
        names[change.name] = rest = None if sha256 is None else _named_by_content(change.name, sha256)
        replaced_by = None if rest is None else f"{lake}/{rest}"
        path = f"{lake}/{change.name}"
        notes.append(RemovedFile(path=path, rows=change.rows, replaced_by=replaced_by, sha256=sha256))
        if change.aside is not None and rest is not None:
            moves.append((change.aside, home.lake / rest))
    settle(moves)
    note_removed(home, why, notes, now=now)
    rows = {change.name: change.rows for change in changes}
    write_manifests(home, [_without(batch, names, rows, why) for batch in batches if _names(batch) & names.keys()])
    unlink(home.lake / name for name in names)


def swap_in_place(home: Home, changes: Sequence[tuple[Path, int, Path | None]], why: Why, *, now: datetime) -> None:
    """The same for files whose names are their meaning, and that no manifest lists: (file, rows that go, what is left
    of it). Hold the home's lock."""
    if not changes:
        return
    notes = []
    for path, rows, aside in changes:
        name = path.relative_to(home.root).as_posix()
        sha256 = None if aside is None else file_sha256(aside)
        notes.append(RemovedFile(path=name, rows=rows, replaced_by=name if aside else None, sha256=sha256))
    note_removed(home, why, notes, now=now)
    for path, _, aside in changes:
        if aside is not None:
            replace(aside, path)
    unlink(path for path, _, aside in changes if aside is None)


def sweep(home: Home) -> int:
    """Removes what a killed swap left in the lake: files that no manifest lists, of every source there ever was."""
    folders = {path.name for path in home.lake.iterdir() if path.is_dir()} - {"links", "manifests"}
    return sweep_sources(home, *folders)


def unlink(paths: Iterable[Path]) -> None:
    """Removes files, and folders of days that are empty then, durably."""
    folders = set()
    for path in paths:
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in sorted(folders):
        fsync_folder(folder)
        if folder.name.startswith("day=") and not any(folder.iterdir()):
            folder.rmdir()
            fsync_folder(folder.parent)


def _named_by_content(name: str, sha256: str) -> str:
    """`…/<batch>.<first of the hash>.parquet`: another content is another name, so nothing is ever overwritten."""
    place, _, file = name.rpartition("/")
    return f"{place}/{file.split('.')[0]}.{sha256[:16]}.parquet"


def _names(batch: Manifest) -> set[str]:
    return {*batch.files, *([batch.links_file] if batch.links_file else [])}


def _without(batch: Manifest, names: dict[str, str | None], rows: dict[str, int], why: Why) -> Manifest:
    files = [rest for name in batch.files if (rest := names.get(name, name)) is not None]
    gone = sum(rows.get(name, 0) for name in batch.files)
    links = batch.links_file and names.get(batch.links_file, batch.links_file)
    removed = {**batch.removed, why: batch.removed.get(why, 0) + gone} if gone else batch.removed
    return batch.model_copy(update={"files": sorted(files), "links_file": links, "removed": removed})
