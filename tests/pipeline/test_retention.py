"""Retention on a really built home: what each run purges, a shorter rule, Dagster's history, what the command says."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from orchestration.defs import commands as defs_commands
from orchestration.defs import launch, notes
from orchestration.defs.instance import open_instance
from orchestration.errors import ExitCode
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import SHIPPED, load_policy, policy_hash
from orchestration.retention import run_history
from orchestration.retention.purge import At, purge
from orchestration.settings import Settings
from tests.homes import copy_home
from tests.pipeline.conftest import AS_OF, Finished

T = datetime.fromisoformat(AS_OF).astimezone(UTC)
DAYS = 30


@pytest.fixture
def home(built: tuple[Path, Finished], tmp_path: Path) -> Home:
    return Home.open(copy_home(built[0], tmp_path / "home"), create=False)


def at(home: Home, *, clock: datetime = T, days: int | None = None) -> At:
    """`days`: instead of those of every category."""
    policy = load_policy()
    if days is not None:
        rules = tuple(rule.model_copy(update={"days": days}) for rule in policy.retention.rules)
        policy = policy.model_copy(update={"retention": policy.retention.model_copy(update={"rules": rules})})
    return At(home, policy, Keys.open(home), clock, clock, policy_hash(policy, SHIPPED), home.landing)


def lake_rows(home: Home, source: str) -> dict[str, tuple[Any, ...]]:
    """touchpoint_key → the whole row."""
    files = sorted(str(path) for path in (home.lake / source).glob("day=*/*.parquet"))
    con = duckdb.connect()
    rows = con.execute(
        "select * from read_parquet($files, union_by_name = true, hive_partitioning = false)", {"files": files}
    )
    at_key = [column[0] for column in rows.description or ()].index("touchpoint_key")
    return {row[at_key]: row for row in rows.fetchall()}


def test_each_run_ends_with_a_purge_and_its_evidence(built: tuple[Path, Finished]) -> None:
    home = Home.open(built[0], create=False)
    (record,) = [json.loads(path.read_bytes()) for path in (home.evidence / "purges").glob("*.json")]
    assert (record["state"], record["clock"]) == ("done", T.isoformat())
    gone = {name for name in record["gone"] if name.startswith("settled:")}
    assert gone == {f"settled:{source.name}" for source in load_policy().sources.sources}
    assert notes.all_counts(home)["retention"]["is_good"] == 1
    assert "retention  purge done" in built[1].err


@pytest.mark.slow
def test_purged_day_leaves_every_other_row_as_it_was(home: Home) -> None:
    """A rule of 30 days: whole days go as files, and no row of a younger day changes."""
    sources = ("app", "in_store", "web", "wechat")
    before = {source: lake_rows(home, source) for source in sources}
    short = at(home, days=DAYS)
    report = purge(short)
    assert report.state == "done"
    for source in sources:
        after = lake_rows(home, source)
        assert after.items() <= before[source].items()
        gone = before[source].keys() - after.keys()
        assert len(gone) == report.units.get(f"touchpoints:{source}", 0) + report.units.get(f"settled:{source}", 0) > 0
        # the day that ended exactly 30 days before T has gone, but for people under legal hold; the next one is there.
        # T is a midnight in Shanghai
        first = (T + timedelta(hours=8) - timedelta(days=DAYS)).date()
        days = [day for row in after.values() for day in row if type(day) is date]
        assert sum(day < first for day in days) == report.deferred.get(f"touchpoints:{source}", 0)
        assert first in days
    again = purge(short)
    assert (again.state, again.units) == ("done", {})


def test_history_of_old_runs_leaves_no_byte(home: Home) -> None:
    """Dagster's own deletion leaves events, and SQLite the pages; a new instance works on what is left."""
    ((run, ended),) = run_history.ended_runs(home)
    other = home.dagster / "storage" / run / "compute_logs"
    other.mkdir(parents=True)
    (other / "step.out").write_text("printed")

    def holding() -> set[str]:
        files = {path for path in home.dagster.rglob("*") if path.is_file()}
        return {path.name for path in files if run.encode() in path.read_bytes() or run in path.as_posix()}

    assert {"runs.db", "index.db", f"{run}.db", "step.out"} <= holding()
    early = purge(at(home, clock=ended + timedelta(days=90) - timedelta(seconds=1)))
    assert "runs" not in early.units and holding()
    report = purge(at(home, clock=ended + timedelta(days=90)))
    assert report.units["runs"] == 1
    assert holding() == set()
    with open_instance(home) as instance:
        assert instance.get_runs() == []
        assert instance.get_latest_materialization_event(next(iter(instance.all_asset_keys()))) is None


@pytest.mark.fault("F8")
def test_history_without_a_table_is_an_error(home: Home) -> None:
    import sqlite3

    ((_, ended),) = run_history.ended_runs(home)
    with sqlite3.connect(home.dagster / "history" / "runs" / "index.db") as con:
        con.execute("DROP TABLE asset_event_tags")
    report = purge(at(home, clock=ended + timedelta(days=91)))
    assert list(report.failed) == ["runs"] and report.state == "incomplete"


@pytest.mark.fault("H8")
@pytest.mark.parametrize(("is_good", "code"), [(1, ExitCode.OK), (0, ExitCode.RETENTION)])
def test_run_says_by_its_exit_code_that_something_waits(
    built: tuple[Path, Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_good: int, code: ExitCode
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(built[0] / "tmp", home.tmp)
    shutil.copytree(built[0] / "evidence", home.evidence)
    notes.leave(home, "retention", counts={"is_good": is_good, "is_done": 1})
    monkeypatch.setattr(launch, "launch_build", lambda *_, **__: SimpleNamespace(home=home))
    done = CliRunner().invoke(defs_commands.run, [], obj=Settings(), standalone_mode=False)
    assert done.return_value == code
    assert ("assent retention plan" in done.output) == (code == ExitCode.RETENTION)
