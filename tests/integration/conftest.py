"""Random worlds, built once by dbt, for the tests of the decision."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.dbt import run_build
from orchestration.warehouse.prepare import prepare
from tests.compared import UP_TO
from tests.decision_table import by_policy
from tests.homes import copy_home, lend_project, made_once
from tests.oracle import World
from tests.staged import Chain, stage_worlds
from tests.worlds import random_world, seeded

FILE = "worlds.duckdb"
WORLDS = 900  # fewer let a mutant of test_mutants.py live
SEED = 7


@dataclass(frozen=True)
class Decided:
    """The worlds, the file in which dbt decided them, and what dbt compiled."""

    worlds: list[World]
    file: Path
    target: Path
    manifest: dict[str, Any]
    home: Home


@dataclass(frozen=True)
class Bench:
    """The compiled models up to the decision, and a database in memory to run them in."""

    chain: Chain
    con: duckdb.DuckDBPyConnection


@pytest.fixture(scope="session")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Decided:
    dice, policy = seeded(SEED), load_policy(SHIPPED)
    worlds = [random_world(dice, policy, number) for number in range(1, WORLDS + 1)]
    worlds += [row.world for row in by_policy()[0]]  # rare stories, that chance alone hardly tells

    def build(folder: Path) -> None:
        home = Home.open(folder / "home")
        file = home.building / FILE
        with duckdb.connect(str(file)) as con:
            stage_worlds(con, policy, worlds)
        lend_project(tmp_path_factory, home.root)
        run = run_build(home, file, prepare(home, policy, SHIPPED))
        assert run.succeeded, run.output
        shutil.copytree(run.target, folder / "target")  # a later run of dbt writes over its own

    shared = made_once(tmp_path_factory, "decided", build)
    home = Home.open(copy_home(shared / "home", tmp_path_factory.mktemp("worlds") / "home"), create=False)
    target = shared / "target"
    return Decided(worlds, home.building / FILE, target, json.loads((target / "manifest.json").read_text()), home)


@pytest.fixture(scope="session")
def bench(decided: Decided) -> Iterator[Bench]:
    chain = Chain.of(decided.manifest, *UP_TO)
    with chain.open() as con:
        yield Bench(chain, con)
