"""Which columns a model's columns come from, directly and by predicates, from its compiled SQL.

Not here: whether that is allowed (`static.py`), how SQL is read (`blocks.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from orchestration.proof.blocks import rows_of
from orchestration.proof.domain import Column, How, Rows, Value, Why
from orchestration.proof.project import Project, Relation
from orchestration.proof.query import Query, Read
from orchestration.proof.remedies import remedy
from orchestration.proof.rules import Unresolved

__all__ = ["Column", "Edge", "Flow", "Read", "Unresolved", "flow_of", "flows"]


@dataclass(frozen=True, order=True)
class Edge:
    """One column flows into another: its value or, indirectly, what it says of which rows there are, or which value."""

    source: Column
    target: Column
    is_direct: bool
    how: How | Why


@dataclass(frozen=True)
class Flow:
    """How one model is made. `rows` are indirect: they decide which rows the whole relation has."""

    relation: str
    columns: tuple[str, ...]
    edges: tuple[Edge, ...]  # into single columns
    rows: tuple[tuple[Column, Why], ...]
    reads: tuple[Read, ...]
    unresolved: tuple[Unresolved, ...]


def flows(project: Project) -> dict[str, Flow]:
    """The flow of every model; sources have none."""
    tables = {relation.name: _bare(relation.columns) for relation in project if relation.kind == "source"}
    found = {}
    for relation in project.models:
        query, rows = evaluated(relation, tables)
        tables[relation.name] = _bare(tuple(rows.columns) or relation.columns)
        found[relation.name] = _flow(relation.name, query, rows)
    return found


def flow_of(relation: Relation, project: Project) -> Flow:
    """The flow of one model, where the columns of what it reads are known (of models: once they are built)."""
    tables = {other.name: _bare(other.columns) for other in project if other.columns}
    query, rows = evaluated(relation, tables)
    return _flow(relation.name, query, rows)


def evaluated(
    relation: Relation, tables: Mapping[str, Rows], keys: Mapping[str, str] | None = None
) -> tuple[Query, Rows]:
    """What the SQL of a model tells of its rows. What cannot be resolved is listed in the query."""
    query = Query(rows_of, relation.name, tables, relation.database, frozenset(relation.reads), keys or {})
    tree = _parsed(relation, query)
    if tree is None:
        return query, Rows({})
    try:
        return query, query.read(tree, {})
    except RecursionError:
        query.missing("SQL nested too deeply", "Split it into CTEs or models")
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        # a rule met what it does not expect: nothing can be said of the model, and that is a failure, no crash
        query.missing(
            f"SQL that no rule expects ({type(error).__name__})", "Write it with plain joins, CTEs and windows"
        )
    return query, Rows({})


def _parsed(relation: Relation, query: Query) -> exp.Expr | None:
    if relation.sql is None and relation.language == "sql":
        query.missing("no SQL that dbt compiled", "Correct the model that fails, so that dbt compiles those after it")
        return None
    if relation.sql is None or relation.language != "sql":
        query.missing(f"a model in {relation.language}", "Write it in SQL: what a program reads cannot be proved")
        return None
    try:
        trees = [tree for tree in sqlglot.parse(relation.sql, dialect="duckdb") if tree is not None]
    except sqlglot.errors.SqlglotError:
        query.missing("SQL that cannot be parsed", "Write one plain SELECT of DuckDB's dialect")
        return None
    if len(trees) == 1 and isinstance(trees[0], exp.Query):
        return trees[0]
    said = trees[0].key if len(trees) == 1 else ""
    word = "unpivot" if said == "pivot" and trees[0].args.get("unpivot") else said
    what = f"`{word.upper()}` as a statement" if remedy(word, "") else "something else than one SELECT"
    query.missing(what, remedy(word, "Write one SELECT; several are CTEs of it"))
    return None


def _bare(columns: tuple[str, ...]) -> Rows:
    return Rows({name: Value() for name in columns}, lineages=(1,))


def _flow(relation: str, query: Query, rows: Rows) -> Flow:
    return Flow(
        relation=relation,
        columns=tuple(rows.columns),
        edges=tuple(sorted(_edges(relation, rows))),
        rows=tuple(sorted(rows.influences)),
        reads=tuple(query.reads),
        unresolved=tuple(query.unresolved),
    )


def _edges(relation: str, rows: Rows) -> Iterator[Edge]:
    for name, value in rows.columns.items():
        target = Column(relation, name)
        best: dict[Column, How] = {}
        for source, how in sorted(value.direct):
            best[source] = max(best.get(source, how), how, key=("copy", "compute", "aggregate").index)
        yield from (Edge(source, target, True, how) for source, how in best.items())
        yield from (Edge(source, target, False, why) for source, why in value.indirect)
