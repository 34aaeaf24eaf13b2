"""Copies homes for tests that change them."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_home(home: Path, to: Path) -> Path:
    """A home with its anchor, which lies beside it: without that it would refuse to run."""
    shutil.copytree(home, to)
    anchor = home.with_name(f"{home.name}.anchor")
    if anchor.is_dir():
        shutil.copytree(anchor, to.with_name(f"{to.name}.anchor"))
    return to
