"""Lineage as OpenLineage events (spec 2-0-2), one job for each relation that a build makes: START and COMPLETE, the
latter with its datasets, their columns and the column lineage facet (1-2-0). Names and codes only, and no SQL text.

Not here: sending them anywhere. They are lines of JSON in a file, as the spec's file transport writes them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestration.atomic import write_bytes
from orchestration.policy.schema import Policy
from orchestration.proof.lineage.edges import MASKING, ROWS, Column, Edge
from orchestration.proof.lineage.facts import Facts
from orchestration.proof.lineage.graph import Lineage

SPEC = "https://openlineage.io/spec"
EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
RUNS = uuid.UUID("5d2f3a52-7c0b-5b0e-9d5e-2f6f0c1f4a11")  # of this project; a run's id is made from it and its names
SUBTYPES = {
    "copy": "IDENTITY", "keep": "IDENTITY", "aggregate": "AGGREGATION", "filter": "FILTER", "exists": "FILTER",
    "join": "JOIN", "group": "GROUP_BY", "sort": "SORT", "window": "WINDOW", "conditional": "CONDITIONAL",
}  # fmt: skip
TRANSFORMED = "TRANSFORMATION"  # every other direct edge
Json = dict[str, Any]
Tags = Mapping[str, Sequence[tuple[str, str, str | None]]]  # relation → (key, code, column or None)


@dataclass(frozen=True)
class Run:
    """The build that the events are of."""

    generation: str
    as_of: datetime
    at: datetime  # when the events are written
    namespace: str = "assent"


def namespace(prefix: Sequence[str]) -> str:
    """That of jobs and datasets: as Dagster's keys begin, where a company has other code beside this."""
    return ".".join((*prefix, "assent"))


def tags_of(policy: Policy, lineage: Lineage) -> dict[str, list[tuple[str, str, str | None]]]:
    """The purpose and the destination of what is shown or delivered; gates; of a field its category and its verb."""
    facts = Facts(policy)
    tags: dict[str, list[tuple[str, str, str | None]]] = {}
    for relation, columns in lineage.relations.items():
        found: list[tuple[str, str, str | None]] = [("purpose", code, None) for code in facts.purposes(relation)]
        destination = facts.destination(relation)
        found += [] if destination is None else [("destination", destination.name, None)]
        found += [("gate", "true", None)] if relation in lineage.gates else []
        for name in columns:
            column = Column(relation, name)
            category, rule = facts.category(column), facts.rule(column)
            found += [] if category is None or not (rule or found) else [("category", category, name)]
            found += [] if rule is None else [("minimisation", rule.verb, name)]
        if found:
            tags[relation] = found
    return tags


def write_events(path: Path, lineage: Lineage, run: Run, tags: Tags) -> int:
    """Writes the file, whole or not at all. Returns how many events it has."""
    written = [json.dumps(event, sort_keys=True, separators=(",", ":")) for event in events(lineage, run, tags)]
    write_bytes(path, "".join(f"{line}\n" for line in written).encode())
    return len(written)


def events(lineage: Lineage, run: Run, tags: Tags) -> Iterator[Json]:
    """The build's own START, then START and COMPLETE of each relation, those that it is made from first."""
    into: dict[str, list[Edge]] = {}
    for edge in lineage.edges:
        into.setdefault(edge.target.relation, []).append(edge)
    yield _event("START", run, "build")
    described: set[str] = set()
    for relation in lineage.order():
        if relation in into:
            yield _event("START", run, relation)
            yield _event("COMPLETE", run, relation) | _datasets(lineage, run, relation, into[relation], tags, described)
            described.add(relation)
    yield _event("COMPLETE", run, "build")


def _event(kind: str, run: Run, job: str) -> Json:
    facets = {"nominalTime": _facet("NominalTimeRunFacet", "1-0-1", nominalStartTime=_time(run.as_of))}
    if job != "build":
        parent = {"run": {"runId": _run_id(run, "build")}, "job": {"namespace": run.namespace, "name": "build"}}
        facets["parent"] = _facet("ParentRunFacet", "1-2-0", **parent)
    return {
        "eventType": kind,
        "eventTime": _time(run.at),
        "producer": _producer(),
        "schemaURL": EVENT,
        "run": {"runId": _run_id(run, job), "facets": facets},
        "job": {"namespace": run.namespace, "name": job, "facets": {"jobType": _job_type(job)}},
    }


def _datasets(
    lineage: Lineage, run: Run, relation: str, edges: Sequence[Edge], tags: Tags, described: set[str]
) -> Json:
    """What was made from what. An input is described where no event before has done so."""
    sources = sorted({edge.source.relation for edge in edges if edge.source.relation != relation})
    output = _dataset(lineage, run, relation, tags)
    output["facets"]["columnLineage"] = _column_lineage(run, edges)
    inputs = [
        {"namespace": run.namespace, "name": name} if name in described else _dataset(lineage, run, name, tags)
        for name in sources
    ]
    described.update(sources)
    return {"inputs": inputs, "outputs": [output]}


def _dataset(lineage: Lineage, run: Run, relation: str, tags: Tags) -> Json:
    columns = [{"name": name} for name in lineage.relations[relation]]
    facets: Json = {"schema": _facet("SchemaDatasetFacet", "1-2-0", fields=columns)}
    given = [
        {"key": key, "value": code, "source": "POLICY", **({} if column is None else {"field": column})}
        for key, code, column in tags.get(relation, ())
    ]
    if given:
        facets["tags"] = _facet("TagsDatasetFacet", "1-0-0", tags=given)
    return {"namespace": run.namespace, "name": relation, "facets": facets}


def _column_lineage(run: Run, edges: Sequence[Edge]) -> Json:
    """What each column is made of and decided by; `dataset` is what decides which rows there are."""
    of_columns: dict[str, dict[Column, list[Json]]] = {}
    for edge in edges:
        if edge.source.name != ROWS:  # that rows come from rows is what inputs and outputs say
            into = of_columns.setdefault(edge.target.name, {})
            into.setdefault(edge.source, []).append(_transformation(edge))
    inputs = {
        name: [_input(run, source, made) for source, made in sorted(found.items())]
        for name, found in sorted(of_columns.items())
    }
    of_rows = inputs.pop(ROWS, [])
    fields = {name: {"inputFields": found} for name, found in inputs.items()}
    return _facet("ColumnLineageDatasetFacet", "1-2-0", fields=fields, dataset=of_rows)


def _input(run: Run, source: Column, made: list[Json]) -> Json:
    return {"namespace": run.namespace, "name": source.relation, "field": source.name, "transformations": made}


def _transformation(edge: Edge) -> Json:
    """`description` is the verb or the part of a query, one word of a closed list."""
    return {
        "type": "DIRECT" if edge.is_direct else "INDIRECT",
        "subtype": SUBTYPES.get(edge.how, TRANSFORMED),
        "description": edge.how,
        "masking": edge.how in MASKING,
    }


def _job_type(job: str) -> Json:
    kind = "DAG" if job == "build" else "TASK"
    return _facet("JobTypeJobFacet", "2-0-4", processingType="BATCH", integration="ASSENT", jobType=kind)


def _facet(name: str, number: str, **content: Any) -> Json:
    return {"_producer": _producer(), "_schemaURL": f"{SPEC}/facets/{number}/{name}.json#/$defs/{name}", **content}


@cache
def _producer() -> str:
    return f"urn:assent:{version('assent')}"


def _run_id(run: Run, job: str) -> str:
    """The same build of the same inputs has the same ids: written again, it is no second run."""
    return str(uuid.uuid5(RUNS, f"{run.namespace}/{run.generation}/{job}"))


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
