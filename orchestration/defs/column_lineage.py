"""Column lineage as Dagster keeps it: of each column of a model the columns that its values come from.

Dagster has no notion of what only decides on a column; `assent lineage` tells that too. Names only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

from orchestration.defs.metadata import column_lineage
from orchestration.defs.site import Site
from orchestration.proof.lineage.edges import Column
from orchestration.proof.lineage.graph import Lineage
from orchestration.proof.lineage.read import built_lineage
from orchestration.proof.project import name_of

Lineages = Mapping[str, Mapping[str, Any]]  # dbt's id → metadata of its materialisation


def lineages(site: Site, project: Path, manifest: Mapping[str, Any], translator: DagsterDbtTranslator) -> Lineages:
    """The metadata of every model of `project`, as the last build has compiled it; nothing where it is not known."""
    lineage = built_lineage(site.home, project, site.policy)
    if lineage is None:
        return {}
    nodes = {**manifest["sources"], **manifest["nodes"]}
    wanted = {i: node for i, node in nodes.items() if node["resource_type"] in ("source", "model")}
    keys = {name_of(node): translator.get_asset_key(node) for node in wanted.values()}
    models = {i: name_of(node) for i, node in wanted.items() if node["resource_type"] == "model"}
    return {i: column_lineage(_columns(lineage, relation, keys)) for i, relation in models.items()}


def _columns(
    lineage: Lineage, relation: str, keys: Mapping[str, dg.AssetKey]
) -> dict[str, list[tuple[dg.AssetKey, str]]]:
    """Column → asset and column of each of its direct sources."""
    found: dict[str, list[tuple[dg.AssetKey, str]]] = {name: [] for name in lineage.relations.get(relation, ())}
    for edge in lineage.edges:
        if edge.target.relation == relation and edge.is_direct:
            found[edge.target.name].append((keys[edge.source.relation], _name(edge.source, keys)))
    return found


def _name(source: Column, keys: Mapping[str, dg.AssetKey]) -> str:
    """The column's own name; with its table's before it where several tables are one asset."""
    schema, _, table = source.relation.partition(".")
    return source.name if keys[source.relation].path[-2:] == [schema, table] else f"{table}.{source.name}"
