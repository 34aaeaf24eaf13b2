"""No model compares everybody with everybody: what a join brings forth grows with the people, not with their square."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import Home
from orchestration.policy.loader import load_policy
from orchestration.proof.compiled import declared_columns
from orchestration.proof.project import read_project
from orchestration.warehouse.build import warehouse_file
from orchestration.warehouse.dbt import target_path
from tests.pipeline.conftest import Finished

MOST_FOR_EACH = 50  # rows for each row that comes in: one of each purpose and category, 17 in the shipped project
MANY = 100_000  # rows: fewer are nobody's trouble
EVERYBODY = """
    select count(*) from intermediate.int_identifiers_resolved as a
    inner join intermediate.int_identifiers_resolved as b
        on a.controller = b.controller and (a.token = b.token or a.person_key = b.person_key)
"""


def operators(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for child in plan.get("children", []):
        yield child
        yield from operators(child)


def grown(con: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The joins of a query that bring forth too many rows."""
    plan = json.loads(con.execute(f"explain (analyze, format json) {sql}").fetchall()[0][1])
    found = []
    for one in operators(plan):
        read = [int(child["operator_cardinality"]) for child in one.get("children", [])]
        rows = int(one["operator_cardinality"])
        if read and rows > MANY and rows > MOST_FOR_EACH * max(read):
            found.append(f"{one['operator_name'].strip()}: {rows:,} rows of {read}")
    return found


@pytest.fixture(scope="module")
def generation(built: tuple[Path, Finished]) -> Iterator[tuple[Home, duckdb.DuckDBPyConnection]]:
    home = Home.open(built[0], create=False)
    with duckdb.connect(str(warehouse_file(home, built[1].json()["generation"])), read_only=True) as con:
        yield home, con


def test_no_join_of_a_model_grows_beyond_what_it_reads(
    generation: tuple[Home, duckdb.DuckDBPyConnection],
) -> None:
    home, con = generation
    database = con.execute("select current_database()").fetchall()[0][0]
    models = read_project(target_path(home), declared_columns(load_policy())).models
    seen, wrong = 0, {}
    for model in models:
        assert model.sql is not None
        try:
            found = grown(con, model.sql.replace(f'"{database}".', ""))
        except duckdb.IOException:  # of parts of the lake that the purge after the build replaced
            continue
        seen += 1
        wrong |= {model.name: found} if found else {}
    assert wrong == {} and seen > len(models) / 2


def test_join_of_everybody_with_everybody_is_seen(generation: tuple[Home, duckdb.DuckDBPyConnection]) -> None:
    assert grown(generation[1], EVERYBODY)
