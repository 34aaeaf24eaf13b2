"""Writes small files so that a reader sees the old content or the new, never half, even after a power loss."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replaces `path` by `data`: written aside in the same folder, fsynced, renamed, folder fsynced."""
    descriptor, name = tempfile.mkstemp(prefix=f"tmp_{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_json(path: Path, obj: Any, *, mode: int = 0o600) -> None:
    """Replaces `path` by `obj` as readable JSON with sorted keys."""
    text = json.dumps(obj, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
    write_bytes(path, (text + "\n").encode(), mode=mode)


def replace(aside: Path, path: Path) -> None:
    """Moves a finished file `aside` to `path` durably: fsync the file, rename, fsync the folder."""
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.replace(path)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Makes renames and new names in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
