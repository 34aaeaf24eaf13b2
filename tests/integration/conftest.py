"""Random worlds, built once by dbt, for the tests of the decision."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.dbt import run_build
from orchestration.warehouse.prepare import prepare
from tests.oracle import Touchpoint, World
from tests.worlds import random_world, stage_worlds

WORLDS = 600
SEED = 7


@dataclass(frozen=True)
class Decided:
    """The worlds, the file in which dbt decided them, and what dbt compiled."""

    worlds: list[tuple[World, list[Touchpoint]]]
    file: Path
    manifest: dict[str, Any]


@pytest.fixture(scope="package")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Decided:
    rng, policy = random.Random(SEED), load_policy(SHIPPED)
    worlds = [random_world(rng, policy, number) for number in range(1, WORLDS + 1)]
    home = Home.open(tmp_path_factory.mktemp("worlds") / "home")
    file = home.building / "worlds.duckdb"
    stage_worlds(str(file), policy, worlds)
    run = run_build(home, file, prepare(home, policy, SHIPPED))
    assert run.succeeded, run.output
    return Decided(worlds, file, json.loads((run.target / "manifest.json").read_text()))
