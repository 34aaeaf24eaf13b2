"""Fixtures that tests of every tier may ask for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.ledger_places import opened, place
from tests.postgres import postgres_server, postgres_url

MAX_SEED = 10**6
PIPELINE = Path(__file__).parent / "pipeline"

__all__ = ["opened", "place", "postgres_server", "postgres_url"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests run in one process; those of all files that look at the built home in the same, so that only one
    builds it (40 s)."""
    of_built = {
        item.path for item in items if "built" in getattr(item, "fixturenames", ()) and PIPELINE in item.path.parents
    }
    for item in items:
        item.add_marker(pytest.mark.xdist_group("built" if item.path in of_built else str(item.path)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--worlds-seed", type=int, default=random.randrange(MAX_SEED), help="of the worlds of `make test-worlds`"
    )
