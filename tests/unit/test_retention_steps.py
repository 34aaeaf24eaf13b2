"""The state table of purges and erasures: resumable, "done" only when every step is, and never with a token."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.backup.contents import list_contents
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.retention.steps import Steps, Work

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def test_work_is_done_only_when_every_step_is(home: Home) -> None:
    """A8."""
    with Steps(home) as steps:
        steps.begin("purge-1", "purge", ["lake", "vault", "dagster"], NOW)
        for step in ("lake", "dagster"):
            steps.done("purge-1", step, {"rows": 3}, NOW)
            assert not steps.is_done("purge-1")
        assert steps.pending("purge-1") == ["vault"]
        steps.done("purge-1", "vault", {}, NOW)
        assert steps.is_done("purge-1")
        assert steps.open_works("purge") == []
        assert steps.counts("purge-1") == {"lake": {"rows": 3}, "vault": {}, "dagster": {"rows": 3}}


def test_work_resumes_after_its_process_died(home: Home) -> None:
    """A8: what was noted before `os._exit` is there, and beginning again changes nothing."""
    child = os.fork()
    if child == 0:
        with Steps(home) as steps:
            steps.begin("purge-1", "purge", ["lake", "vault"], NOW)
            steps.done("purge-1", "lake", {"files": 2}, NOW)
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with Steps(home) as steps:
        steps.begin("purge-1", "purge", ["lake", "vault"], NOW + timedelta(hours=1))
        assert steps.pending("purge-1") == ["vault"]
        assert steps.open_works("purge") == [Work("purge-1", "purge", NOW, 2, 1)]


def test_a_step_that_is_noted_twice_keeps_its_first_counts(home: Home) -> None:
    with Steps(home) as steps:
        steps.begin("erase-1", "erasure", ["lake"], NOW)
        steps.done("erase-1", "lake", {"rows": 7}, NOW)
        steps.done("erase-1", "lake", {"rows": 0}, NOW)
        assert steps.counts("erase-1") == {"lake": {"rows": 7}}


def test_works_of_another_kind_stay_apart(home: Home) -> None:
    with Steps(home) as steps:
        steps.begin("b", "purge", ["one"], NOW)
        steps.begin("a", "purge", ["one"], NOW + timedelta(seconds=1))
        steps.begin("c", "erasure", ["one"], NOW)
        assert [work.work_id for work in steps.open_works("purge")] == ["b", "a"]
        steps.forget("b")
        assert [work.work_id for work in steps.works("purge")] == ["a"]
        assert not steps.is_done("b")


def test_what_was_never_begun_is_an_error_not_done(home: Home) -> None:
    """F8: a missing target is an error."""
    with Steps(home) as steps:
        assert not steps.is_done("purge-1")
        with pytest.raises(HomeError):
            steps.pending("purge-1")
        with pytest.raises(HomeError):
            steps.done("purge-1", "lake", {}, NOW)
        steps.begin("purge-1", "purge", ["lake"], NOW)
        with pytest.raises(HomeError):
            steps.done("purge-1", "lakes", {}, NOW)
        with pytest.raises(HomeError):
            steps.begin("purge-1", "purge", ["lake", "vault"], NOW)
        with pytest.raises(HomeError):
            steps.begin("purge-1", "erasure", ["lake"], NOW)
        for wrong in ([], ["lake", "lake"]):
            with pytest.raises(HomeError):
                steps.begin("purge-2", "purge", wrong, NOW)


@pytest.mark.parametrize(
    "name", ["0123456789abcdef" * 2, "x-" + "ab" * 20, "alice@example.invalid", "a b", "", "1" * 121]
)
def test_a_name_that_may_be_personal_is_refused_and_not_told(home: Home, name: str) -> None:
    """E1, E10."""
    with Steps(home) as steps:
        steps.begin("purge-1", "purge", ["lake"], NOW)
        for call in (
            lambda: steps.begin(name, "purge", ["lake"], NOW),
            lambda: steps.begin("purge-2", "purge", [name], NOW),
            lambda: steps.done("purge-1", "lake", {name: 1}, NOW),
        ):
            with pytest.raises(HomeError) as refused:
                call()
            assert not name or name not in str(refused.value)


def test_state_table_is_private_and_not_in_a_backup(home: Home) -> None:
    with Steps(home) as steps:
        steps.begin("purge-1", "purge", ["lake"], NOW)
    assert stat.S_IMODE(home.work_db.stat().st_mode) == 0o600
    contents = list_contents(home)
    assert home.work_db not in contents.files
    assert contents.unknown == ()
    assert home.work_db.name in contents.left_out
