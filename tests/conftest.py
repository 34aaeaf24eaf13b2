"""Fixtures that tests of every tier may ask for."""

from __future__ import annotations

import gc
import random

import pytest

from tests.ledger_places import opened, place
from tests.postgres import postgres_server, postgres_url

MAX_SEED = 10**6

__all__ = ["opened", "place", "postgres_server", "postgres_url"]

gc.set_threshold(100_000, 50, 100)  # as the commands do: what all tests import is a million objects, none of it garbage


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--worlds-seed", type=int, default=random.randrange(MAX_SEED), help="of the worlds of `make test-worlds`"
    )
