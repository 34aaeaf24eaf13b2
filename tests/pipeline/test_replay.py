"""`assent replay` on a real generation: equal after all that came later; what went is explained, or found."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.evidence.removed import RemovedFile, note_removed
from orchestration.home import Home
from orchestration.ingestion.ingest import ingest_all
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.warehouse import archive
from orchestration.warehouse.gate import file_sha256
from tests.homes import copy_home
from tests.pipeline.conftest import Finished, assent
from tests.pipeline.test_withdrawal import withdraw

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def later(built: tuple[Path, Finished], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built home after a withdrawal that came later, an export, and a batch that landed later."""
    home = copy_home(built[0], tmp_path_factory.mktemp("later") / "home")
    assert withdraw(home).code == 0
    assert assent(home, "export").code == 0
    return home


def generation_of(home: Path) -> str:
    return str(json.loads((home / "warehouse" / "published.json").read_bytes())["generation"])


def left_behind(home: Path) -> set[str]:
    """Every file of the home but those that any command touches."""
    files = (path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    return {name for name in files if not name.startswith(("lock", "dagster/", "ledger.sqlite-", "keys/", "tmp/dbt/"))}


def replayed(home: Path, code: int) -> dict[str, Any]:
    done = assent(home, "replay", "--json")
    assert done.code == code, done.err + done.out
    found: dict[str, Any] = done.json()
    return found


def test_replay_is_equal_whatever_came_later_and_leaves_only_its_record(
    built: tuple[Path, Finished], later: Path
) -> None:
    before = left_behind(later)
    found = replayed(later, 0)
    assert (found["status"], found["problems"], found["tables"]) == ("equal", [], {})
    assert found["content_hash_now"] == found["content_hash_then"] == built[1].json()["content_hash"]
    assert found["files"] > 100 and found["compared_with"] == "file"
    new = left_behind(later) - before
    (record,) = [name for name in new if "/replays/" in name]
    assert new == {record}
    assert (later / record).stat().st_mode & 0o077 == 0
