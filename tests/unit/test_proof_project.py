"""Reading a compiled dbt project: names, order, SQL and columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestration.proof.project import ProjectUnreadableError, read_project


def node(kind: str, schema: str, name: str, reads: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "resource_type": kind, "schema": schema, "name": name, "package_name": "shop",
        "original_file_path": f"models/{name}.sql", "columns": {}, "depends_on": {"nodes": list(reads)}, **more,
    }  # fmt: skip


def compiled(folder: Path, nodes: dict[str, dict[str, Any]], sources: dict[str, dict[str, Any]]) -> Path:
    (folder / "manifest.json").write_text(json.dumps({"nodes": nodes, "sources": sources}))
    for found in nodes.values():
        path = folder / "compiled" / "shop" / found["original_file_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"select * from somewhere -- {found['name']}")
    return folder


SOURCE = {"source.shop.lake.web": node("source", "lake", "web", columns={"Item": {}}, identifier="web")}
NODES = {
    "model.shop.b": node("model", "marts", "b", ("model.shop.a",)),
    "model.shop.a": node("model", "staging", "a", ("source.shop.lake.web",)),
    "test.shop.t": node("test", "x", "t"),
}


def test_project_lists_each_relation_after_what_it_reads(tmp_path: Path) -> None:
    project = read_project(compiled(tmp_path, NODES, SOURCE), {"staging.a": ("item",)})
    assert [relation.name for relation in project] == ["lake.web", "staging.a", "marts.b"]
    assert project["marts.b"].reads == ("staging.a",)
    assert project["lake.web"].columns == ("item",)
    assert project["staging.a"].columns == ("item",)
    assert project["marts.b"].sql == "select * from somewhere -- b"


def test_project_model_without_compiled_sql_has_none(tmp_path: Path) -> None:
    compiled(tmp_path, NODES, SOURCE)
    (tmp_path / "compiled" / "shop" / "models" / "b.sql").unlink()
    assert read_project(tmp_path, {})["marts.b"].sql is None


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_project_without_a_whole_manifest_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ProjectUnreadableError):
        read_project(tmp_path, {})


def test_project_with_two_relations_of_one_name_is_refused(tmp_path: Path) -> None:
    nodes = {**NODES, "model.shop.c": node("model", "marts", "c", alias="b")}
    with pytest.raises(ProjectUnreadableError, match="one name"):
        read_project(compiled(tmp_path, nodes, SOURCE), {})


def test_project_with_a_circle_is_refused(tmp_path: Path) -> None:
    nodes = {**NODES, "model.shop.a": node("model", "staging", "a", ("model.shop.b",))}
    with pytest.raises(ProjectUnreadableError, match="circle"):
        read_project(compiled(tmp_path, nodes, SOURCE), {})
