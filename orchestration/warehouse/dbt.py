"""How dbt is started: always in a process of its own, offline, and with nothing of a row in its logs.

Not here: what becomes of its results (`checks.py`). Dagster uses `build_arguments` and `environment` too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.warehouse.duckdb_settings import memory_limit

LAST_LINES = 20
PROJECT_NOTE = "assent_project.txt"  # in the target: the prepared project (`prepare.py`) that was compiled


@dataclass(frozen=True)
class DbtRun:
    """What one `dbt build` left: its exit code and the folder with run_results.json."""

    succeeded: bool
    target: Path
    output: str


def target_path(home: Home) -> Path:
    return home.tmp / "dbt" / "target"


def is_compiled(target: Path, project: Path) -> bool:
    """Whether the SQL in `target` is what dbt made of this very project, and not of another, or of half of it."""
    note = target / PROJECT_NOTE
    return note.is_file() and note.read_text(encoding="utf-8") == project.parent.name


def environment(home: Home, build_file: Path) -> dict[str, str]:
    """The variables dbt needs. Complete: secrets of the parent process are not handed on."""
    return {
        "ASSENT_BUILD_FILE": str(build_file),
        "ASSENT_BUILD_TMP": str(home.tmp / "duckdb"),
        "ASSENT_MEMORY_LIMIT": memory_limit(),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "DO_NOT_TRACK": "1",
        "DBT_PARTIAL_PARSE": "False",
        "DBT_LOG_PATH": str(home.tmp / "dbt" / "logs"),
        "DBT_LOG_LEVEL_FILE": "none",
        "PYTHONUTF8": "1",
        "TZ": "UTC",
    }


def build_arguments(home: Home, project: Path) -> list[str]:
    """The arguments of the one `dbt build` of a generation, after the name of the program."""
    return [
        "build",
        "--no-partial-parse",
        "--exclude-resource-type",
        "unit_test",
        "--target-path",
        str(target_path(home)),
        *_places(project),
        *_quiet(),
    ]


def run_build(home: Home, build_file: Path, project: Path) -> DbtRun:
    """Runs `dbt build` on `build_file`. A failed model or test is a result, not an exception."""
    _run_folders(home, target_path(home))
    done = _dbt(build_arguments(home, project), environment(home, build_file))
    if not done.returncode:  # what follows a failed model was not compiled
        _note_project(target_path(home), project)
    return DbtRun(done.returncode == 0, target_path(home), done.stdout)


def _note_project(target: Path, project: Path) -> None:
    (target / PROJECT_NOTE).write_text(project.parent.name, encoding="utf-8")


def run_models(home: Home, build_file: Path, project: Path) -> DbtRun:
    """Builds the models alone, as a replay does: what their tests said then is evidence already."""
    _run_folders(home, target_path(home))
    arguments = ["run", "--no-partial-parse", "--target-path", str(target_path(home))]
    done = _dbt([*arguments, *_places(project), *_quiet()], environment(home, build_file))
    return DbtRun(done.returncode == 0, target_path(home), done.stdout)


def run_unit_tests(home: Home, build_file: Path, project: Path) -> DbtRun:
    """Runs the models' own unit tests on a file that was built. No part of a nightly build."""
    _run_folders(home, target_path(home))
    select = ["--select", "test_type:unit"]
    arguments = ["test", "--no-partial-parse", "--target-path", str(target_path(home)), *select]
    done = _dbt([*arguments, *_places(project), *_quiet()], environment(home, build_file))
    return DbtRun(done.returncode == 0, target_path(home), done.stdout)


def compile_project(home: Home, build_file: Path, project: Path, target: Path) -> None:
    """Writes the SQL of every model, as a build of `build_file` would run it, under `target`: `manifest.json` and
    `compiled/`. Raises AssentError with dbt's own words: nothing is read of the file's rows but what macros ask."""
    _run_folders(home, target)
    arguments = ["compile", "--no-partial-parse", "--target-path", str(target), *_places(project), *_quiet()]
    done = _dbt(arguments, environment(home, build_file))
    if done.returncode or not (target / "manifest.json").is_file():
        said = "\n".join(done.stdout.strip().splitlines()[-LAST_LINES:])
        raise AssentError(
            f"dbt cannot compile the models of this policy:\n{said}\n",
            where="dbt compile",
            remedy="Correct the model that dbt names",
        )
    _note_project(target, project)


def parse(home: Home, project: Path) -> None:
    """Writes `project/target/manifest.json`. Raises AssentError with dbt's own words: a parse sees no data."""
    _run_folders(home)
    target = Path(tempfile.mkdtemp(prefix="parse.", dir=home.tmp))
    try:
        arguments = ["parse", "--no-partial-parse", "--target-path", str(target), *_places(project), *_quiet()]
        done = _dbt(arguments, environment(home, home.tmp / "parse.duckdb"))
        manifest = target / "manifest.json"
        if done.returncode or not manifest.is_file():
            said = "\n".join(done.stdout.strip().splitlines()[-LAST_LINES:])
            raise AssentError(
                f"dbt cannot read the models of this policy:\n{said}\n",
                where="dbt parse",
                remedy="Correct the model that dbt names",
            )
        (project / "target").mkdir(exist_ok=True)
        shutil.copyfile(manifest, project / "target" / "manifest.json")
    finally:
        shutil.rmtree(target, ignore_errors=True)


# Looking for garbage among the million objects of a manifest takes a sixth of dbt's time (parse: 6.4 s, so 5.4 s).
_START = (
    "import atexit, gc; gc.set_threshold(100_000, 50, 100); atexit.register(gc.freeze); "
    "from dbt.cli.main import cli; gc.freeze(); cli()"
)


def _dbt(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _START, *arguments]
    return subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _run_folders(home: Home, target: Path | None = None) -> None:
    """What dbt needs to be there, and of `target` nothing: SQL that is left of another project is not this one's."""
    if target is not None:
        shutil.rmtree(target, ignore_errors=True)
    for folder in (home.tmp / "duckdb", home.tmp / "dbt"):
        folder.mkdir(parents=True, exist_ok=True)


def _places(project: Path) -> list[str]:
    return ["--project-dir", str(project), "--profiles-dir", str(project)]


def _quiet() -> list[str]:
    return ["--no-use-colors", "--log-level-file", "none"]
