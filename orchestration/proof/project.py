"""The relations of a compiled dbt project, each before those that read it, with its SQL as DuckDB runs it.

Not here: what the SQL means (`flow.py`), how dbt is started (`warehouse/dbt.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.warehouse.duckdb_settings import connect

Kind = Literal["source", "model"]
Columns = Mapping[str, tuple[str, ...]]  # schema.table → its columns in order
# What dbt gives rows to: a model is proved from its SQL; rows that come from a file are a source like any other.
_READ_AS: dict[str, Kind] = {"source": "source", "seed": "source", "model": "model", "snapshot": "model"}


class ProjectUnreadableError(AssentError):
    """The compiled project is not there, or not whole: nothing can be said about it."""


@dataclass(frozen=True)
class Relation:
    """A table or view. `sql` is what dbt compiled; a model without any cannot be proved. `reads` are its refs and
    sources as dbt knows them."""

    name: str  # schema.table
    kind: Kind
    layer: str  # the schema
    sql: str | None = None
    columns: tuple[str, ...] = ()
    file: str = ""
    database: str = ""  # as the SQL may name it
    language: str = "sql"
    materialized: str = ""
    reads: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    column_meta: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def table(self) -> str:
        return self.name.partition(".")[2]


@dataclass(frozen=True)
class Project:
    """Every relation, in topological order."""

    relations: tuple[Relation, ...]

    @cached_property
    def by_name(self) -> dict[str, Relation]:
        return {relation.name: relation for relation in self.relations}

    def __getitem__(self, name: str) -> Relation:
        return self.by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def __iter__(self) -> Iterator[Relation]:
        return iter(self.relations)

    @property
    def models(self) -> tuple[Relation, ...]:
        return tuple(relation for relation in self.relations if relation.kind == "model")


def read_project(target: Path, columns: Columns) -> Project:
    """The project that dbt compiled into `target` (manifest.json and compiled/). `columns` are those of the sources,
    and of the models where they are built. Raises ProjectUnreadableError."""
    manifest = _manifest(target)
    nodes: dict[str, Mapping[str, Any]] = {
        unique_id: node
        for unique_id, node in {**manifest["nodes"], **manifest["sources"]}.items()
        if node["resource_type"] in _READ_AS
    }
    names = {unique_id: name_of(node) for unique_id, node in nodes.items()}
    reads = {unique_id: _reads(node, names) for unique_id, node in nodes.items()}
    relations = {names[i]: _relation(node, target, columns, reads[i]) for i, node in nodes.items()}
    if len(relations) < len(nodes):
        raise ProjectUnreadableError(
            "two relations have one name", where=str(target), remedy="Give each model and source its own name"
        )
    return Project(tuple(relations[name] for name in _ordered(relations)))


def columns_in(home: Home, build_file: Path) -> dict[str, tuple[str, ...]]:
    """The columns of every table and view of a staged or built DuckDB file, by its information schema."""
    con = connect(home, build_file, read_only=True)
    try:
        found = con.execute(
            "select table_schema || '.' || table_name, list(column_name order by ordinal_position) "
            "from information_schema.columns group by 1 order by 1"
        ).fetchall()
    finally:
        con.close()
    return {name: tuple(columns) for name, columns in found}


def _manifest(target: Path) -> Mapping[str, Any]:
    try:
        manifest: Mapping[str, Any] = json.loads((target / "manifest.json").read_bytes())
        if isinstance(manifest, dict) and {"nodes", "sources"} <= manifest.keys():
            return manifest
    except (OSError, ValueError):
        pass
    raise ProjectUnreadableError(
        "there is no compiled project", where=str(target), remedy="Run `assent run`, which compiles it"
    )


def name_of(node: Mapping[str, Any]) -> str:
    """What the project calls the relation of a node of dbt's manifest."""
    table = node.get("identifier") or node.get("alias") or node["name"]
    return f"{node['schema']}.{table}".lower()


def _reads(node: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
    wanted = node.get("depends_on", {}).get("nodes", ())
    return tuple(sorted({names[unique_id] for unique_id in wanted if unique_id in names}))


def _relation(node: Mapping[str, Any], target: Path, columns: Columns, reads: tuple[str, ...]) -> Relation:
    name, kind = name_of(node), _READ_AS[node["resource_type"]]
    config = node.get("config", {})
    declared = tuple(column.lower() for column in node["columns"]) if kind == "source" else ()
    return Relation(
        name=name,
        kind=kind,
        layer=name.partition(".")[0],
        database=str(node.get("database") or ""),
        sql=_compiled(node, target) if kind == "model" else None,
        columns=tuple(column.lower() for column in columns.get(name, declared)),
        file=str(node["original_file_path"]),
        language=str(node.get("language", "sql")),
        materialized=str(config.get("materialized", "")),
        reads=reads,
        meta=config.get("meta", {}),
        column_meta={name: c.get("config", {}).get("meta", {}) for name, c in node["columns"].items()},
    )


def _compiled(node: Mapping[str, Any], target: Path) -> str | None:
    """The SQL of a model; none where dbt did not compile it. The file, not the manifest: that is what dbt ran."""
    path = target / "compiled" / str(node["package_name"]) / str(node["original_file_path"])
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _ordered(relations: Mapping[str, Relation]) -> list[str]:
    graph = {name: sorted(relations[name].reads) for name in sorted(relations)}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError:
        raise ProjectUnreadableError(
            "models read each other in a circle", where="models/", remedy="Break the circle of refs"
        ) from None
