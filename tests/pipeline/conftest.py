"""One small demo world, built once through Dagster, for every test of the pipeline that only looks."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import QUIET, child_environment
from tests.homes import copy_home, lend_project, made_once

AS_OF = "2026-11-22T00:00:00+08:00"
SEED = "7"
OF_THEIR_OWN = {"run", "demo", "dev", "replay"}  # commands that build, or serve


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def assent(home: Path, *arguments: str, stdin: str = "", **variables: str) -> Finished:
    """Runs the command: a build, and what has variables of its own, in a process as people do. The others only look or
    record, and of their three seconds of CPU time two and a half would go into starting Python."""
    environment = child_environment({**QUIET, "ASSENT_HOME": str(home), **variables})
    if not variables and not OF_THEIR_OWN & {*arguments}:
        return _in_this_process(arguments, stdin, environment)
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, check=False)
    return Finished(done.returncode, done.stdout, done.stderr)


def _in_this_process(arguments: tuple[str, ...], stdin: str, environment: dict[str, str]) -> Finished:
    from orchestration.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["assent", *arguments])
        patch.setattr(sys, "stdin", given)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Finished(code if isinstance(code, int) else 1, *texts)


def make_demo(home: Path, *, people: int = 2000, days: int = 60) -> Path:
    sizes = ("--people", str(people), "--days", str(days), "--seed", SEED, "--as-of", AS_OF)
    made = assent(home, "demo", *sizes)
    assert made.code == 0, made.err
    return home


@pytest.fixture(scope="session")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo home with files in landing, and its dbt project prepared: nothing built yet. Copy it, do not change it."""
    return copy_home(_landed_once(tmp_path_factory), tmp_path_factory.mktemp("landed") / "home")


def _landed_once(factory: pytest.TempPathFactory) -> Path:
    return made_once(factory, "landed", lambda folder: lend_project(factory, make_demo(folder / "home"))) / "home"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A copy of it after `assent run --json`. Do not change it."""

    def build(folder: Path) -> None:
        home = copy_home(_landed_once(tmp_path_factory), folder / "home")
        done = assent(home, "run", "--as-of", AS_OF, "--json")
        assert done.code == 0, done.err
        (folder / "done.json").write_text(json.dumps([done.code, done.out, done.err]))

    shared = made_once(tmp_path_factory, "built", build)
    home = copy_home(shared / "home", tmp_path_factory.mktemp("built") / "home")
    code, *said = json.loads((shared / "done.json").read_text())
    return home, Finished(code, *(text.replace(str(shared / "home"), str(home)) for text in said))


@pytest.fixture
def copy_of(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Copies a home so that a test may change it."""

    def copy(home: Path) -> Path:
        return copy_home(home, tmp_path / "home")

    yield copy
