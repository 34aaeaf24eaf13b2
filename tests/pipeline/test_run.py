"""The whole build through the command line: what it says, that a rerun changes nothing, that a kill does no harm."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.errors import ExitCode
from orchestration.settings import QUIET, child_environment
from tests.pipeline.conftest import AS_OF, Finished, assent

KILLED_AFTER = random.Random(20261122)


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


def test_rerun_changes_nothing(built: tuple[Path, Finished], copy_of: Callable[[Path], Path]) -> None:
    before = built[1].json()
    again = assent(copy_of(built[0]), "run", "--json")
    assert again.code == 0, again.err
    after = again.json()
    assert after["content_hash"] == before["content_hash"]
    assert after["segments"] == before["segments"]
    assert [e["sha256"] for e in after["exports"]] == [e["sha256"] for e in before["exports"]]


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


def kill_and_recover(home: Path, seconds: float, expected: str) -> None:
    """Kills a build's process group after `seconds`; what was published stays whole, and the next build is good."""
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", "run", "--as-of", AS_OF]
    environment = child_environment({**QUIET, "ASSENT_HOME": str(home)})
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if (home / "warehouse" / "published.json").exists():
        assert assent(home, "verify", "ledger").code == ExitCode.OK
    done = assent(home, "run", "--as-of", AS_OF, "--json")
    assert done.code == 0, done.err
    assert done.json()["content_hash"] == expected


@pytest.mark.parametrize("sample", range(2))
def test_killed_build_is_simply_run_again(
    sample: int, landed: Path, built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    kill_and_recover(copy_of(landed), KILLED_AFTER.uniform(3, 25), built[1].json()["content_hash"])


@pytest.mark.slow
@pytest.mark.parametrize("sample", range(10))
def test_killed_build_is_simply_run_again_many_times(
    sample: int, landed: Path, built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    seconds = random.Random(sample).uniform(1, 40)
    kill_and_recover(copy_of(landed), seconds, built[1].json()["content_hash"])
