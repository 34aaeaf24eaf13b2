"""The static proof: on the compiled SQL alone, no path around the gate leads to anything that is exposed.

Proved is what the SQL says of every possible data. Taken for given are DuckDB, sqlglot's reading of its SQL, that dbt
runs what it compiled, and the reviews in reclassifications.yaml. Not here: what is run (`twins/`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from orchestration.policy.schema import Policy, Segment
from orchestration.proof.aggregates import EXPORTED, of_counts, of_deliveries
from orchestration.proof.analysis import GOVERNANCE, INSIDE, MARTS, STAGING, Analysis
from orchestration.proof.obligations import Endings, Obligation, in_force, only_renamed, readable, verdict
from orchestration.proof.project import Project, Relation
from orchestration.proof.segments import Mart
from orchestration.proof.verdict import Failure, Verdict
from orchestration.warehouse.sensitivity import reads_sensitive


def prove_statically(
    project: Project, policy: Policy, *, as_of: datetime, like: Analysis | None = None
) -> tuple[Verdict, ...]:
    """A verdict for each relation that somebody outside reads: marts, governance tables, and what exports read. `like`
    spares reading models anew that are as in a project read before."""
    analysis = Analysis.of(project, policy, like)
    endings = Endings.of(analysis)
    sensitive = _sensitive(analysis)
    found = []
    for relation in project.models:
        owed = _owed(relation, analysis, sensitive, as_of)
        if owed is not None:
            purpose, own = owed
            name = relation.name
            way = (*readable(name, analysis), *only_renamed(name, analysis), *endings.obligations(name, analysis))
            found.append(verdict(name, purpose, iter((*way, *own))))
    return (*found, *_not_there(analysis))


def _owed(
    relation: Relation, analysis: Analysis, sensitive: frozenset[str], as_of: datetime
) -> tuple[str | None, Iterator[Obligation]] | None:
    """The purpose and the own obligations of a relation; None where nobody outside reads it."""
    name, today = relation.name, as_of.date()
    segments = {segment.name: segment for segment in analysis.policy.segments.segments}
    one = analysis.reviewed.get(name)
    if relation.layer == MARTS and relation.table in segments:
        segment = segments[relation.table]
        purpose = next(p for p in analysis.policy.purposes.purposes if p.name == segment.purpose)
        mart = Mart(segment, purpose, analysis, sensitive)
        reviews = (in_force(r, (n, f"{name} reads it"), today) for n, r in mart.reviews)
        return purpose.name, iter((*mart.obligations(), *reviews))
    if relation.layer == GOVERNANCE:
        review = [] if one is None else [in_force(one, (name,), today)]
        return None, iter((*of_counts(name, analysis), *review))
    if name == EXPORTED or (one is not None and one.kind == "delivery"):
        review = [] if one is None else [in_force(one, (name,), today)]
        return None, iter((*of_deliveries(name, analysis), *review))
    if relation.layer in INSIDE:
        return None
    return None, iter((_no_purpose(relation),))


def _no_purpose(relation: Relation) -> Obligation:
    what = f"{relation.name} has a purpose"
    said = f"{relation.name} can be read from outside, and policy gives it no purpose"
    remedy = f"Name it as a segment in segments.yaml, or move it to one of: {', '.join(INSIDE)}"
    return Obligation(what, Failure(said, (relation.name,), remedy))


def _not_there(analysis: Analysis) -> Iterator[Verdict]:
    """Segments and reviewed relations of policy that the project does not have."""
    models = {relation.name for relation in analysis.project.models}
    tables = {relation.table for relation in analysis.project.models}
    for segment in analysis.policy.segments.segments:
        if f"{MARTS}.{segment.name}" not in models:
            yield _absent(
                f"{MARTS}.{segment.name}", segment.purpose, f"Write models/marts/marketing/{segment.model_name}.sql"
            )
    if EXPORTED not in models:
        yield _absent(EXPORTED, None, "Exports read it: restore the model")
    for one in analysis.policy.reclassifications.reclassifications:
        if one.relation not in tables:
            yield _absent(one.relation, None, "Remove it from reclassifications.yaml, or correct its name")


def _absent(name: str, purpose: str | None, remedy: str) -> Verdict:
    failure = Failure(f"policy names {name}, and the project has no such model", (name,), remedy)
    return Verdict("static", name, purpose, 1, 0, (failure,))


def _sensitive(analysis: Analysis) -> frozenset[str]:
    """The segments whose compiled SQL names something sensitive, or leaves out the people of one that does."""
    fields = {column for column, rule in analysis.fields.items() if rule.category == "sensitive"}
    columns = frozenset(
        name
        for relation in analysis.project.models
        if relation.layer == STAGING
        for name, value in analysis.told[relation.name].columns.items()
        if fields & {column for column, _ in value.direct | value.indirect}
    )
    segments = analysis.policy.segments.segments
    found = {segment.name for segment in segments if _names_sensitive(segment, analysis, columns)}
    while more := {s.name for s in segments if s.name not in found and found & set(s.excludes)}:
        found |= more
    return frozenset(found)


def _names_sensitive(segment: Segment, analysis: Analysis, columns: frozenset[str]) -> bool:
    purpose = next(p for p in analysis.policy.purposes.purposes if p.name == segment.purpose)
    relation = analysis.project.by_name.get(f"{MARTS}.{segment.name}")
    if "sensitive" not in purpose.categories or relation is None or relation.sql is None:
        return False
    if analysis.queries[relation.name].unresolved:
        return False
    return reads_sensitive(relation.sql, segment, analysis.policy, columns)
