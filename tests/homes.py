"""Homes for tests: copied where they are changed; made once for all processes of a run of tests where they are not."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.prepare import prepare


def copy_home(home: Path, to: Path) -> Path:
    """A home with its anchor, which lies beside it: without that it would refuse to run."""
    shutil.copytree(home, to)
    anchor = home.with_name(f"{home.name}.anchor")
    if anchor.is_dir():
        shutil.copytree(anchor, to.with_name(f"{to.name}.anchor"))
    return to


def put_back(kept: Path, place: Path) -> Path:
    """A folder as it was made, at the very path at which it was: some of what lies in a home names that."""
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(kept, place))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process to ask for it makes, and others wait for. Copy it, do not change it."""
    base = factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / f"shared_{name}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "is_made").exists():
            shutil.rmtree(folder, ignore_errors=True)  # half of it
            folder.mkdir()
            make(folder)
            (folder / "is_made").touch()
    return folder


def shipped_project(factory: pytest.TempPathFactory) -> Path:
    """A home's policies/ with the project of the shipped policy: dbt takes seconds to parse it."""

    def make(folder: Path) -> None:
        prepare(Home.open(folder / "home", demo_seed=7), load_policy(), SHIPPED)

    return made_once(factory, "project", make) / "home" / "policies"


def lend_project(factory: pytest.TempPathFactory, home: Path) -> Path:
    """The home, which needs not prepare the shipped project any more."""
    shutil.copytree(shipped_project(factory), home / "policies", dirs_exist_ok=True)
    return home
