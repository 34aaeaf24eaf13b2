"""Lineage against the data: where a column of the lake, the ledger or the like is changed, nothing else may change in
any model than what lineage says it has an influence on. What it says beyond is caution; what it lacks is a fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import pytest

from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from orchestration.proof.compiled import declared_columns
from orchestration.proof.lineage.edges import ROWS, Column
from orchestration.proof.lineage.graph import Lineage
from orchestration.proof.lineage.read import lineage_of
from orchestration.proof.project import Project, read_project
from tests.integration.conftest import Decided

POLICY = load_policy()
CHANGED = ("lake", "ledger", "identity", "activity")  # what a build reads of people
FEW = (  # of the fast suite; each takes as long as the models of these worlds run
    Column("lake.web", "raw_event"),
    Column("ledger.consent_events", "purpose"),
    Column("ledger.consent_events", "jurisdiction"),
)
Fingerprint = dict[Column, str]


@dataclass(frozen=True)
class Told:
    """The compiled project, its lineage, and the database in which its models can be run again."""

    project: Project
    lineage: Lineage
    con: duckdb.DuckDBPyConnection
    before: Fingerprint


@pytest.fixture(scope="module")
def told(decided: Decided) -> Iterator[Told]:
    project = read_project(decided.target, declared_columns(POLICY))
    with duckdb.connect(str(decided.file)) as con:
        con.execute("begin")  # the worlds are everybody's: nothing is kept
        con.execute("set threads = 1")
        yield Told(project, lineage_of(project, POLICY), con, run(con, project))
        con.execute("rollback")


def run(con: duckdb.DuckDBPyConnection, project: Project) -> Fingerprint:
    """Runs every model; each column as a hash of its values, whatever their order, and how many rows there are."""
    found: Fingerprint = {}
    for relation in project.models:
        kind = "view" if relation.materialized == "view" else "table"
        con.execute(f"create or replace {kind} {relation.name} as {relation.sql}")
        names = [name for (name,) in con.execute(f"select column_name from (describe {relation.name})").fetchall()]
        hashes = ", ".join(f'sum(hash("{name}"::varchar)::hugeint)::varchar' for name in names)
        (row,) = con.execute(f"select count(*)::varchar, {hashes} from {relation.name}").fetchall()
        found |= dict(zip((Column(relation.name, name) for name in (ROWS, *names)), map(str, row), strict=True))
    return found


def staged(policy: Policy, project: Project, con: duckdb.DuckDBPyConnection) -> list[Column]:
    """Every column of people that holds more than one value: the others cannot be changed by one another's."""
    tables = [r for r in project if r.kind == "source" and r.layer in CHANGED]
    columns = [Column(table.name, name) for table in tables for name in table.columns]
    several = 'select count(distinct "{0.name}") > 1 from {0.relation}'
    return [column for column in columns if con.execute(several.format(column)).fetchone() == (True,)]


def changes(told: Told, column: Column) -> set[Column]:
    """What differs where each row has the next row's value of `column`."""
    name, table = column.name, column.relation
    told.con.execute(f"create or replace temp table kept as select * from {table}")
    told.con.execute(
        f'create or replace table {table} as select * replace (coalesce(lead("{name}") over (order by rowid), '
        f'(select "{name}" from kept order by rowid limit 1)) as "{name}") from kept'
    )
    try:
        after = run(told.con, told.project)
    finally:
        told.con.execute(f"create or replace table {table} as select * from kept")
    return {one for one, hashed in after.items() if hashed != told.before[one]}


def missing(told: Told, column: Column, lineage: Lineage) -> set[Column]:
    return changes(told, column) - lineage.affected(column)


def test_models_run_again_are_the_same(told: Told) -> None:
    """Otherwise a difference would tell nothing."""
    assert run(told.con, told.project) == told.before


@pytest.mark.parametrize("column", FEW, ids=str)
def test_nothing_changes_that_lineage_does_not_tell(told: Told, column: Column) -> None:
    assert changes(told, column), "the change reached nothing: it shows nothing"
    assert missing(told, column, told.lineage) == set()


def test_lineage_that_lacks_an_edge_is_found_out(told: Told) -> None:
    """The control: without what the events of a website lead to."""
    event = Column("lake.web", "raw_event")
    edges = [edge for edge in told.lineage.edges if edge.source != event]
    poorer = Lineage(edges, (), {}, columns=told.lineage.columns)
    assert Column("intermediate.int_touchpoints_classified", "category") in missing(told, event, poorer)


@pytest.mark.slow
def test_no_column_of_people_changes_what_lineage_does_not_tell(told: Told) -> None:
    columns = staged(POLICY, told.project, told.con)
    assert len(columns) > 50
    lacking = {str(column): sorted(map(str, missing(told, column, told.lineage))) for column in columns}
    assert {column: found for column, found in lacking.items() if found} == {}
