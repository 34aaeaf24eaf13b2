"""The event log that a run in this process writes: Dagster's own files, which its UI and daemon read meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from orchestration.defs.event_log import HeldEventLog
from orchestration.defs.instance import open_instance, prepare_instance
from orchestration.defs.metadata import Made
from orchestration.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home", demo_seed=1)


@dg.asset(check_specs=[dg.AssetCheckSpec("it_is_good", asset="made")])
def made() -> Iterator[Made]:
    yield dg.MaterializeResult(metadata={"rows": 7})
    yield dg.AssetCheckResult(passed=True)


def test_others_read_what_a_run_in_this_process_writes(home: Home) -> None:
    with open_instance(home) as held:
        assert type(held.event_log_storage) is HeldEventLog
        for _ in range(2):
            run_id = dg.materialize([made], instance=held).run_id
            with dg.DagsterInstance.from_config(str(prepare_instance(home))) as plain:
                assert type(plain.event_log_storage) is SqliteEventLogStorage
                assert plain.get_run_by_id(run_id) is not None
                assert [str(e) for e in plain.all_logs(run_id)] == [str(e) for e in held.all_logs(run_id)]
                latest = plain.get_latest_materialization_event(dg.AssetKey("made"))
                assert latest is not None
                assert latest.run_id == run_id
                checks = plain.event_log_storage.get_asset_check_execution_history(
                    dg.AssetCheckKey(dg.AssetKey("made"), "it_is_good"), limit=5
                )
                assert checks[0].run_id == run_id


def test_no_connection_outlives_the_instance(home: Home) -> None:
    with open_instance(home) as held:
        dg.materialize([made], instance=held)
        assert _open_files(home)
    assert not _open_files(home)


def _open_files(home: Home) -> list[str]:
    targets = [str(link.readlink()) for link in list(Path("/proc/self/fd").iterdir()) if link.is_symlink()]
    return [target for target in targets if target.startswith(str(home.dagster / "history" / "runs"))]


def test_storage_of_the_company_is_used_as_it_is(home: Home, tmp_path: Path) -> None:
    settings = prepare_instance(home) / "dagster.yaml"
    with settings.open("a") as file:
        file.write(f"\nstorage: {{sqlite: {{base_dir: {tmp_path / 'theirs'}}}}}\n")
    with open_instance(home) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
        dg.materialize([made], instance=instance)
    assert list((tmp_path / "theirs").rglob("*.db"))
