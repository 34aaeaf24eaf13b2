"""Nothing brings back who was erased: a model that keeps rows from build to build is refused (faults F3, F4)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.code_hash import DBT_PROJECT
from orchestration.warehouse.materialised import KeepsRowsError, refuse_kept_rows
from orchestration.warehouse.prepare import prepare

MODEL = "models/marts/marketing/wechat_engaged.sql"


def manifest(kind: str = "model", **config: Any) -> dict[str, Any]:
    return {"nodes": {f"{kind}.assent.kept": {"name": "kept", "resource_type": kind, "config": config}}}


@pytest.mark.fault("F3", "F4")
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("snapshot", {"materialized": "snapshot"}), ("seed", {"materialized": "seed"}),
        ("model", {"materialized": "incremental"}), ("model", {"materialized": "external"}),
        ("model", {"materialized": "materialized_view"}), ("model", {"materialized": "our_own"}), ("model", {}),
        ("model", {"materialized": "table", "post-hook": [{"sql": "copy {{ this }} to 'kept.parquet'"}]}),
        ("model", {"materialized": "table", "sql_header": "create table kept as select 1;"}),
    ],
)  # fmt: skip
def test_what_keeps_rows_is_refused(kind: str, config: dict[str, Any]) -> None:
    with pytest.raises(KeepsRowsError, match="kept"):
        refuse_kept_rows(manifest(kind, **config))


@pytest.mark.parametrize("kind", ["table", "view", "ephemeral"])
def test_what_is_made_anew_is_taken(kind: str) -> None:
    refuse_kept_rows(manifest(materialized=kind))
    refuse_kept_rows(manifest("test", materialized="test"))


@pytest.mark.fault("F3", "F4")
def test_snapshot_of_a_company_never_becomes_a_project(tmp_path: Path) -> None:
    """At the build: dbt reads it, and the project is not prepared."""
    folder = tmp_path / "policy"
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "vocabulary.yaml"))
    model = folder / MODEL
    model.parent.mkdir(parents=True)
    model.write_text((DBT_PROJECT / MODEL).read_text())
    beside = model.with_name("_wechat_engaged__kept.yml")
    beside.write_text("unit_tests: []\nmodels: []\nsnapshots:\n  - name: kept\n    relation: ref('wechat_engaged')\n"
                      "    config: {unique_key: audience_key, strategy: check, check_cols: all}\n")  # fmt: skip
    home = Home.open(tmp_path / "home")
    with pytest.raises(KeepsRowsError, match=r"kept \(snapshot\)"):
        prepare(home, load_policy(folder), folder)
    assert [path for path in home.policies.iterdir() if path.is_dir()] == []
