"""`make bench`: the time of each stage for a world of about 1 M touchpoints, and what dbt adds to its own SQL.

The bound is measured in the same run: the statements that dbt ran, in the same order, by bare DuckDB on a copy of the
same inputs. Not here: thresholds; a number without a bound is not a claim."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import click
import duckdb

from orchestration.consent.feeds.importer import import_feeds
from orchestration.demo.world import make_world
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.resolve import resolve_identities
from orchestration.ingestion.ingest import ingest_all
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.dbt import DbtRun, run_build
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.prepare import prepare
from orchestration.warehouse.stage import stage_inputs

AS_OF = datetime(2026, 11, 21, 16, tzinfo=UTC)  # midnight in the demo policy's zone
TIMES: dict[str, float] = {}


@contextmanager
def timed(stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    TIMES[stage] = time.perf_counter() - started
    print(f"  {stage:<12} {TIMES[stage]:8.2f} s", flush=True)


@click.command(help=__doc__)
@click.option(
    "--people", default=30_000, show_default=True, help="30,000 people leave about 1 M touchpoints in 60 days."
)
@click.option("--days", default=60, show_default=True)
def main(people: int, days: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="assent-bench."))
    try:
        home, policy = Home.open(folder / "home", demo_seed=7), load_policy(SHIPPED)
        project = prepare(home, policy, SHIPPED)
        with timed("demo"):
            world = make_world(home.landing, policy, seed=7, people=people, days=days, as_of=AS_OF)
        touchpoints, keys = sum(world.touchpoints.values()), Keys.open(home)
        with home.lock():
            with timed("ingestion"):
                ingest_all(home, policy, keys, home.landing, now=AS_OF, as_of=AS_OF)
            with timed("consent"):
                import_feeds(home, policy, keys, home.landing, now=AS_OF)
            with timed("staging"):
                build = stage_inputs(home, policy, keys, as_of=AS_OF, policy_dir=SHIPPED)
            with timed("identity"):
                resolve_identities(home, build, policy)
            file = build.file(home)
            inputs = shutil.copy(file, folder / "inputs.duckdb")
            with timed("dbt"):
                run = run_build(home, file, project)
        if not run.succeeded:
            sys.exit("the dbt build failed")
        with timed("bare SQL"):
            statements = run_bare(home, Path(inputs), file.stem, run)
        report(touchpoints, world.consent_records, statements)
    finally:
        shutil.rmtree(folder)


def run_bare(home: Home, inputs: Path, database: str, run: DbtRun) -> int:
    """Runs what dbt compiled, models and tests. Returns how many."""
    nodes = compiled_nodes(run.target)
    con = connect(home, Path(":memory:"))
    try:
        con.execute(f"attach '{inputs}' as \"{database}\"")
        con.execute(f'use "{database}"')
        for node in nodes:
            run_node(con, node)
    finally:
        con.close()
    return len(nodes)


def compiled_nodes(target: Path) -> list[dict[str, Any]]:
    """The models and tests that dbt compiled, in an order that dbt could have chosen."""
    manifest = json.loads((target / "manifest.json").read_text())
    nodes: dict[str, Any] = {key: n for key, n in manifest["nodes"].items() if n["resource_type"] in ("model", "test")}
    order = TopologicalSorter({key: set(n["depends_on"]["nodes"]) & nodes.keys() for key, n in nodes.items()})
    return [nodes[key] for key in order.static_order()]


def run_node(con: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> None:
    sql = node["compiled_code"]
    if node["resource_type"] == "test":
        failures = con.execute(f"select count(*) from ({sql})").fetchone()
        assert failures == (0,), node["name"]
        return
    kind = "view" if node["config"]["materialized"] == "view" else "table"
    con.execute(f'create schema if not exists "{node["schema"]}"')
    con.execute(f'create {kind} "{node["schema"]}"."{node["alias"]}" as {sql}')


def report(touchpoints: int, consents: int, statements: int) -> None:
    built = sum(TIMES[stage] for stage in ("ingestion", "consent", "staging", "identity", "dbt"))
    print(f"\n  {touchpoints:,} touchpoints, {consents:,} consent records, {statements} statements")
    print(f"  ingestion    {touchpoints / TIMES['ingestion']:12,.0f} touchpoints/s")
    print(f"  whole build  {touchpoints / built:12,.0f} touchpoints/s")
    print(f"  dbt ÷ the same SQL by bare DuckDB: {TIMES['dbt'] / TIMES['bare SQL']:.2f}")


if __name__ == "__main__":
    main()
