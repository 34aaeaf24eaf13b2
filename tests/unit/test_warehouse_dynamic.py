"""What is proved is what runs: a model whose SQL depends on more than its text is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.code_hash import DBT_PROJECT
from orchestration.warehouse.dynamic import DynamicSqlError, refuse_dynamic_sql
from orchestration.warehouse.prepare import prepare

MODEL = "models/marts/marketing/wechat_engaged.sql"


def manifest(template: str, kind: str = "model") -> dict[str, Any]:
    macros = {"macro.assent.as_of": {"name": "as_of", "package_name": "assent"},
              "macro.dbt.run_query": {"name": "run_query", "package_name": "dbt"}}  # fmt: skip
    node = {"name": "mine", "resource_type": kind, "raw_code": template}
    return {"macros": macros, "nodes": {f"{kind}.assent.mine": node}}


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("select {{ run_query('select count(*) from lake.web').columns[0][0] }}", "run_query"),
        ("{% set r = run_query('select 1') %}select 1", "run_query"),
        ("{% call statement('s', fetch_result=True) %}select 1{% endcall %}select {{ load_result('s') }}", "statement"),
        ("{% do adapter.execute('copy lake.web to stdout') %}select 1", "adapter"),
        ("select '{{ env_var('HOME') }}'", "env_var"),
        ("select '{{ invocation_id }}'", "invocation_id"),
        ("select {{ context['run_query']('select 1') }}", "context"),
        ("select {{ dbt.run_query('select 1') }}", "dbt"),
        ("{% if execute %}select 1{% else %}select 2{% endif %}", "execute"),
        ("{% for node in graph.nodes.values() %}select 1{% endfor %}", "graph"),
        ("{% materialization mine, default %}{% endmaterialization %}", "a tag of dbt's own"),
    ],
)
def test_sql_that_is_asked_for_is_refused(template: str, names: str) -> None:
    with pytest.raises(DynamicSqlError, match=names):
        refuse_dynamic_sql(manifest(template))


@pytest.mark.parametrize(
    "template",
    [
        "{{ config(materialized='table') }} select * from {{ ref('a') }}, {{ source('b', 'c') }}",
        "{% set days = [1, 2] %}{% for day in days %}select {{ day }} {{ 'union' if not loop.last }} {% endfor %}",
        "select {{ as_of() }} - to_days({{ var('days') }})",
    ],
)
def test_sql_of_its_text_alone_is_taken(template: str) -> None:
    refuse_dynamic_sql(manifest(template))
    refuse_dynamic_sql(manifest("{{ _dbt_generic_test_kwargs }}", "test"))


def test_model_that_asks_the_warehouse_never_becomes_a_project(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "vocabulary.yaml"))
    model = folder / MODEL
    model.parent.mkdir(parents=True)
    asked = "{% set found = run_query('select 1') if execute else none %}\n"
    model.write_text(asked + (DBT_PROJECT / MODEL).read_text())
    home = Home.open(tmp_path / "home")
    with pytest.raises(DynamicSqlError, match=r"wechat_engaged \(execute, run_query\)"):
        prepare(home, load_policy(folder), folder)
    assert [path for path in home.policies.iterdir() if path.is_dir()] == []
