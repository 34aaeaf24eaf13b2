"""The inventory by itself: its rules exist, and every dbt model is in it. A built home: `pipeline/test_places.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.policy.loader import load_policy
from orchestration.retention.places import RETENTION, Found, Place, inventory, uncovered

MODELS = Path(__file__).parents[2] / "dbt_project" / "models"


@pytest.fixture(scope="module")
def places() -> list[Place]:
    return inventory(load_policy())


def test_every_place_of_people_has_both_rules(places: list[Place]) -> None:
    assert uncovered([], places) == []
    assert {place.retention for place in places} - {None} <= set(RETENTION)
    assert len({place.path for place in places}) == len(places)


@pytest.mark.fault("F2")
def test_every_model_is_in_the_inventory_and_none_that_is_gone(places: list[Place]) -> None:
    """A new model without a declaration fails here, before anything is built."""
    (warehouse,) = [place for place in places if place.path == "warehouse/*.duckdb"]
    folders = {"intermediate": "intermediate", "marts/governance": "governance"}
    made = {f"{schema}.{path.stem}" for folder, schema in folders.items() for path in (MODELS / folder).glob("*.sql")}
    assert warehouse.tables is not None
    assert made == {name for name in warehouse.tables if name.split(".")[0] in folders.values()}


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ("lake/web/day=2026-01-01/x.parquet", True),
        ("lake/web/x.parquet", False),
        ("lake/a/b/day=2026-01-01/x.parquet", False),
        ("lake/web/day=2026-01-01/x.parquet.bak", False),
    ],
)
def test_star_stays_within_a_folder(places: list[Place], path: str, matches: bool) -> None:
    assert (uncovered([Found(path)], places) == []) == matches


def test_place_that_holds_nothing_marks_no_pseudonym(places: list[Place]) -> None:
    place = Place("x", "nothing", tables={"t": frozenset({"token"})}, pseudonyms=frozenset({("t", "token")}))
    assert uncovered([], [place]) == ["x: it holds nothing, and yet a pseudonym (t.token)"]
