"""The whole build through the command line: what it says, that a rerun changes nothing, that a kill does no harm."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.defs.instance import open_instance
from orchestration.errors import ExitCode
from orchestration.home import Home
from orchestration.settings import QUIET, child_environment
from tests.pipeline.conftest import AS_OF, Finished, assent

KILLED_AFTER = random.Random(20261122)
LATER = "2026-11-22T01:00:00+08:00"  # another T on the same files


def test_summary_has_its_shape_and_sums_up(built: tuple[Path, Finished]) -> None:
    summary = built[1].json()
    assert set(summary["sources"]) == {"web", "app", "wechat", "in_store"}
    for source in summary["sources"].values():
        assert source["read"] == source["accepted"] + source["duplicates"] + source["quarantined"]
        assert source["accepted"] > 0
    totals = {entry["permit"] + sum(entry["deny"].values()) for entry in summary["decisions"].values()}
    assert totals == {sum(source["accepted"] for source in summary["sources"].values())}
    assert summary["segments"]["wechat_engaged"]["people"] > 0
    assert summary["checks"]["failed"] == 0
    assert summary["checks"]["passed"] > 100
    for export in summary["exports"]:
        people = summary["segments"][export["segment"]]["people"]
        assert export["rows"] + sum(export["withheld"].values()) == people
    for name in ("generation", "as_of", "policy_hash", "ledger_head", "content_hash"):
        assert summary[name]


def test_files_are_where_the_summary_says(built: tuple[Path, Finished]) -> None:
    home, done = built
    written = [export for export in done.json()["exports"] if export["rows"]]
    assert written
    for export in written:
        assert (home / export["path"]).is_file()
    generation = done.json()["generation"]
    page = (home / "evidence" / generation / "report.html").read_text(encoding="utf-8")
    assert generation in page
    assert "Engaged on WeChat" in page
    assert "微信活跃" in page


def test_progress_goes_to_stderr_only(built: tuple[Path, Finished]) -> None:
    assert "dbt " in built[1].err
    assert built[1].out.startswith("{")


def test_status_verify_and_doctor_agree(built: tuple[Path, Finished]) -> None:
    home, done = built
    assert done.json()["generation"] in assent(home, "status").out
    assert assent(home, "verify", "--json").code == ExitCode.OK
    assert assent(home, "doctor", "--json").code == ExitCode.OK


BUILDS = "dbt        building"


@pytest.mark.slow  # two builds; test_warehouse_repeat.py and test_dagster.py have the parts
def test_rerun_builds_nothing_unless_the_home_was_moved(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    home = copy_of(built[0])
    # the first build ended with a purge of what no scope permits, so that this one reads another lake; and the views of
    # a generation name the lake where it was built, which in the copy are others
    moved = assent(home, "run", "--as-of", AS_OF, "--json")
    again = assent(home, "run", "--as-of", AS_OF, "--json")
    unchanged = _unchanged(Home.open(home))
    assert [done.code for done in (moved, again)] == [0, 0], again.err
    assert [BUILDS in done.err for done in (built[1], moved, again)] == [True, True, False]
    assert again.json()["content_hash"] == moved.json()["content_hash"]
    assert "unchanged: generation" in again.err
    assert "great-expectations" not in again.err
    first, after = moved.json(), again.json()
    assert after["segments"] == first["segments"]
    assert [e["sha256"] for e in after["exports"]] == [e["sha256"] for e in first["exports"]]
    for stage in ("dbt", "marts", "static", "twins"):
        assert after["checks"]["by_stage"][stage] == first["checks"]["by_stage"][stage]
    assert unchanged == {"warehouse", "identity", "staging", "intermediate", "marts", "governance"}


@pytest.mark.slow
def test_rerun_builds_the_same_where_it_must(built: tuple[Path, Finished], copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(built[0])
    done = assent(home, "run", "--as-of", AS_OF, "--json")
    forced = assent(home, "run", "--as-of", AS_OF, "--rebuild", "--json")
    assert (done.code, forced.code, BUILDS in forced.err) == (0, 0, True)
    assert forced.json()["content_hash"] == done.json()["content_hash"]


def _unchanged(home: Home) -> set[str]:
    """The layers whose assets the last run marked as verified, not made."""
    with open_instance(home) as instance:
        run = instance.get_runs(limit=1)[0]
        made = [entry.asset_materialization for entry in instance.all_logs(run.run_id)]
    return {one.asset_key.path[0] for one in made if one is not None and "is_unchanged" in one.metadata}


@pytest.mark.slow
@pytest.mark.fault("B11", "H10")
def test_build_for_an_older_day_is_evidence_only(built: tuple[Path, Finished], copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(built[0])
    pointer = (home / "warehouse" / "published.json").read_bytes()
    older = assent(home, "run", "--as-of", "2026-11-20T00:00:00+08:00", "--json")
    assert older.code == 0, older.err
    assert (home / "warehouse" / "published.json").read_bytes() == pointer
    assert older.json()["generation"] != built[1].json()["generation"]
    assert older.json()["exports"] == []


def test_other_landing_folder_is_refused_for_a_demo_home(built: tuple[Path, Finished], tmp_path: Path) -> None:
    refused = assent(built[0], "run", "--landing", str(tmp_path))
    assert refused.code == ExitCode.HOME
    assert "Traceback" not in refused.err


def kill(home: Path, seconds: float, as_of: str) -> None:
    """Starts a build and kills its process group after `seconds`, unless it has ended by then."""
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", "run", "--as-of", as_of]
    environment = child_environment({**QUIET, "ASSENT_HOME": str(home)})
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def killed_first_build(home: Path, seconds: float, expected: str) -> None:
    """Killed before anything was ever published: the next build has the same rows as one that nobody killed."""
    kill(home, seconds, AS_OF)
    has_purged = any((home / "evidence" / "purges").glob("*.json"))  # then the next build reads another lake
    done = assent(home, "run", "--as-of", AS_OF, "--json")
    assert done.code == 0, done.err
    assert has_purged or done.json()["content_hash"] == expected


def killed_next_build(home: Path, seconds: float, *, is_run_again: bool = True) -> None:
    """Killed after a generation was published: that one, or the whole next one, is in force, and its exports stand."""
    before = json.loads((home / "warehouse" / "published.json").read_text())["generation"]
    kill(home, seconds, LATER)
    for part in ("generation", "ledger"):
        verified = assent(home, "verify", part)
        assert verified.code == ExitCode.OK, verified.err
    assert assent(home, "export").code == ExitCode.OK
    if not is_run_again:
        return
    done = assent(home, "run", "--as-of", LATER, "--json")
    assert done.code == 0, done.err
    assert done.json()["generation"] != before
    assert json.loads((home / "warehouse" / "published.json").read_text())["generation"] == done.json()["generation"]


@pytest.mark.slow
def test_killed_first_build_is_simply_run_again(
    landed: Path, built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    killed_first_build(copy_of(landed), KILLED_AFTER.uniform(3, 25), built[1].json()["content_hash"])


def test_killed_next_build_leaves_the_published_generation_whole(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    killed_next_build(copy_of(built[0]), KILLED_AFTER.uniform(3, 20), is_run_again=False)


@pytest.mark.slow
@pytest.mark.parametrize("sample", range(10))
def test_killed_build_is_simply_run_again_many_times(
    sample: int, landed: Path, built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    seconds = random.Random(sample).uniform(1, 40)
    if sample % 2:
        killed_next_build(copy_of(built[0]), seconds)
    else:
        killed_first_build(copy_of(landed), seconds, built[1].json()["content_hash"])
