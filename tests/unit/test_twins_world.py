"""Worlds over DuckDB alone: what a twin shares with its base is read there, and only that."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from orchestration.proof.twins.world import Model, ModelFailedError, Plan, World

DOUBLED = Model("marts.doubled", 'select n * 2 as n from "lake"."web"', ("lake.web",))
TOLD = Model("marts.told", 'select n + 1 as n from "marts"."doubled"', ("marts.doubled",))
PLAN = Plan((DOUBLED, TOLD))


@pytest.fixture
def worlds() -> Iterator[tuple[World, World]]:
    with duckdb.connect() as con:
        base = World(con, "base").open({"lake", "marts"})
        base.write("lake.web", "select 1 as n")
        base.run(PLAN)
        yield base, World(con, "sms at shop: some", base).open({"lake", "marts"})


def value(world: World, table: str) -> int:
    found = world.con.execute(f"select n from {world.place_of(table)}").fetchall()
    return int(found[0][0])


def test_what_a_twin_has_of_its_own_is_read_before_the_base(worlds: tuple[World, World]) -> None:
    base, twin = worlds
    twin.write("lake.web", "select 5 as n")
    twin.run(PLAN)
    assert (value(twin, "marts.told"), value(base, "marts.told")) == (11, 3)
    assert twin.differs("marts.told") and twin.own == {"lake.web", "marts.doubled", "marts.told"}


def test_what_is_shared_again_is_the_bases(worlds: tuple[World, World]) -> None:
    base, twin = worlds
    for query in ("select 5 as n", None):
        if query is None:
            twin.share("lake.web")
        else:
            twin.write("lake.web", query)
        twin.run(PLAN)
    assert twin.own == set() and value(twin, "marts.told") == value(base, "marts.told") == 3
    assert not twin.differs("marts.told")


def test_what_reads_a_model_that_failed_is_not_made_of_the_bases(worlds: tuple[World, World]) -> None:
    """The base has what the twin could not make, and must not stand for it."""
    _, twin = worlds
    twin.write("lake.web", "select 'no number' as n")
    with pytest.raises(ModelFailedError) as error:
        twin.run(PLAN)
    assert error.value.model == "marts.doubled"
    assert not {"marts.doubled", "marts.told"} & {*twin.versions}
