"""Reads the lineage of a policy: its models compiled, their columns followed, with the steps that no model takes.

The same project and code have the same lineage, so it is kept beside the prepared project. Not here: the graph."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp

from orchestration.atomic import write_json
from orchestration.errors import AssentError, ExitCode
from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.proof.analysis import Analysis
from orchestration.proof.atoms import PERMIT, is_touchpoint
from orchestration.proof.compiled import compiled_project, declared_columns
from orchestration.proof.flow import Flow, flows
from orchestration.proof.lineage import origins
from orchestration.proof.lineage.edges import ROWS, Column, Edge, indirect
from orchestration.proof.lineage.graph import MARTS, Lineage
from orchestration.proof.project import Project, ProjectUnreadableError, read_project
from orchestration.warehouse.code_hash import code_hash, tools_hash
from orchestration.warehouse.dbt import is_compiled, target_path
from orchestration.warehouse.prepare import prepare

FILE = "lineage.json"
SHOWN = 5
Names = dict[tuple[str, str], str]


class LineageUnknownError(AssentError):
    """Some SQL cannot be followed, so that nothing whole can be said."""

    exit_code = ExitCode.POLICY


def read_lineage(home: Home, policy: Policy, policy_dir: Path, *, say: Callable[[str], None] | None = None) -> Lineage:
    """The lineage of the policy and the models as they are now. Raises LineageUnknownError."""
    file = prepare(home, policy, policy_dir).parent / FILE
    kept = _kept(file)
    if kept is not None:
        return kept
    if say is not None:
        say("compiling and following the models of this policy, once")
    with home.lock():
        lineage = lineage_of(compiled_project(home, policy, policy_dir), policy)
    write_json(file, _as_json(lineage))
    return lineage


def built_lineage(home: Home, project: Path, policy: Policy) -> Lineage | None:
    """That of the prepared `project` as the last build has compiled it; nothing where that was another project, or some
    SQL of it cannot be followed. Of that the proof tells, and nothing is released."""
    file = project.parent / FILE
    kept = _kept(file)
    if kept is not None or not is_compiled(target_path(home), project):
        return kept
    lineage = None
    with contextlib.suppress(LineageUnknownError, ProjectUnreadableError):
        lineage = lineage_of(read_project(target_path(home), declared_columns(policy)), policy)
        write_json(file, _as_json(lineage))
    return lineage


def lineage_of(project: Project, policy: Policy) -> Lineage:
    """The graph of compiled models and of what is around them. Raises LineageUnknownError, naming each construct."""
    found = flows(project)
    unresolved = [f"{one.where}: {one.construct}. {one.remedy}" for flow in found.values() for one in flow.unresolved]
    if unresolved:
        raise LineageUnknownError(
            f"{len(unresolved)} parts of models cannot be followed: {'; '.join(unresolved[:SHOWN])}",
            where="lineage",
            remedy="Write them so; until then nothing is said of any column",
        )
    edges = [*origins.edges(policy), *(edge for flow in found.values() for edge in _edges(flow))]
    analysis = Analysis.of(project, policy)
    columns = [Column(flow.relation, name) for flow in found.values() for name in flow.columns]
    columns += [Column(relation.name, name) for relation in project for name in relation.columns]
    return Lineage(edges, gates_of(analysis), of_segment(project, policy), analysis.reviewed, columns)


def _edges(flow: Flow) -> Iterator[Edge]:
    rows = Column(flow.relation, ROWS)
    for edge in flow.edges:
        yield Edge(Column(*edge.source), Column(*edge.target), edge.how, edge.is_direct)
    for source, how in flow.rows:
        yield indirect(Column(*source), rows, how)
    for name in {read.relation for read in flow.reads}:
        yield indirect(Column(name, ROWS), rows, "rows")


def of_segment(project: Project, policy: Policy) -> Names:
    """Pairs of relations between which rows of one segment alone pass: from a mart into a model that reads it only
    where it names the segment as a literal, and out into that segment's files."""
    found: Names = {
        (origins.ACTIVATIONS, origins.export_name(segment, place)): segment.name
        for segment, place in origins.delivered(policy)
    }
    segments = {f"{MARTS}.{segment.name}": segment.name for segment in policy.segments.segments}
    for relation in project.models:
        read = [name for name in relation.reads if name in segments]
        if read and not relation.name.startswith(f"{MARTS}.") and relation.sql is not None:
            literal = _segments_named(relation.sql)
            found |= {(name, relation.name): segments[name] for name in read if literal.get(name) == {segments[name]}}
    return found


def _segments_named(sql: str) -> dict[str, set[str | None]]:
    """Table → the literals that stand as `segment` where it is read; None: a reading without one."""
    found: dict[str, set[str | None]] = {}
    for select in sqlglot.parse_one(sql, dialect="duckdb").find_all(exp.Select):
        literals = [p.this.this for p in select.selects if p.alias == "segment" and isinstance(p.this, exp.Literal)]
        only = literals[0] if len(literals) == 1 else None
        sources = [select.args.get("from_"), *(select.args.get("joins") or ())]
        for source in sources:
            table = source.this if source is not None else None
            if isinstance(table, exp.Table):
                found.setdefault(f"{table.db}.{table.name}", set()).add(only if len(sources) == 1 else None)
    return found


def gates_of(analysis: Analysis) -> list[str]:
    """The models that let pass only what is permitted, and read what is not yet: by the shape of their SQL, as the
    proof knows them."""
    found = []
    for relation in analysis.project.models:
        touched = [atom for atom in analysis.rows(relation.name).atoms if is_touchpoint(atom.source)]
        passed = bool(touched) and all(PERMIT in atom.guards for atom in touched)
        if passed and not analysis.stands_alone(relation.name) and not analysis.is_behind_gate(relation.name):
            found.append(relation.name)
    return found


def _as_json(lineage: Lineage) -> dict[str, Any]:
    return {
        "code": [code_hash(), tools_hash()],
        "gates": lineage.gates,
        "reviewed": lineage.reviewed,
        "of_segment": [[*pair, name] for pair, name in lineage.of_segment.items()],
        "columns": lineage.columns,
        "edges": [[*edge.source, *edge.target, edge.how, edge.is_direct] for edge in lineage.edges],
    }


def _kept(file: Path) -> Lineage | None:
    """What is kept, where this very code kept it."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content: Mapping[str, Any] = json.loads(file.read_bytes())
        if content["code"] == [code_hash(), tools_hash()]:
            edges = [Edge(Column(a, b), Column(c, d), how, direct) for a, b, c, d, how, direct in content["edges"]]
            named = {(source, target): name for source, target, name in content["of_segment"]}
            columns = [Column(*column) for column in content["columns"]]
            return Lineage(edges, content["gates"], named, content["reviewed"], columns)
    return None
