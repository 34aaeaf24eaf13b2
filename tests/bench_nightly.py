"""`make bench-nightly`: what of a night's work grows with history, and what only with tonight's change.

One shop of a fixed daily volume lives through the days; at each length of history the next night is run by the real
code, stage by stage, after a quiet run of the night before. CPU seconds, this process and its children. dbt's models
and tests are timed as the statements that dbt compiled, one by one, by bare DuckDB on a copy of the inputs; what is
left of dbt's own time is its own. Two bounds say what a build of changed people only could save: the time of merely
carrying every built table over into a new file, and the share of people whom a night touches at all. Not here:
thresholds, and the speed for a given size (`bench.py`)."""

from __future__ import annotations

import importlib
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import duckdb
import numpy as np

from orchestration.consent.feeds.importer import import_feeds
from orchestration.demo.world import make_world
from orchestration.evidence.expectations import check_marts
from orchestration.exports.export import export_generation
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.resolve import resolve_identities
from orchestration.ingestion.ingest import ingest_all
from orchestration.ingestion.lake import source_totals
from orchestration.ingestion.landing import deliveries
from orchestration.policy.loader import SHIPPED, load_policy, policy_hash
from orchestration.policy.schema import ConsentFeed, Feed, Policy
from orchestration.proof.build import prove_build
from orchestration.proof.checks import checks_of
from orchestration.warehouse.build import Build
from orchestration.warehouse.checks import CheckResult, dbt_checks
from orchestration.warehouse.content import content_hash
from orchestration.warehouse.dbt import run_build
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import release
from orchestration.warehouse.prepare import prepare
from orchestration.warehouse.publish import publish
from orchestration.warehouse.stage import stage_inputs
from tests.bench import compiled_nodes, run_node

LAST = datetime(2026, 11, 21, 16, tzinfo=UTC)  # the last night: midnight in the demo policy's zone
SHOWN = 16  # nodes of dbt, the dearest
CARRIED = ("intermediate", "marts", "governance")
TOUCHED = """
    with nights as (select as_of, as_of - interval 1 day as before from meta.builds),
    spans as (
        select distinct days::integer as days from (
            select lookback_days as days from policy.segments union all select retention_days from policy.scopes
        )
    ),
    seen as (
        select t.person_key, t.occurred_at from intermediate.int_touchpoints_masked as t where t.person_key is not null
    ),
    touched as (
        select 'a new touchpoint' as why, s.person_key from seen as s, nights as n where s.occurred_at > n.before
        union
        select 'a lookback or retention ends', s.person_key
        from seen as s, nights as n, spans as w
        where s.occurred_at >= n.before - to_days(w.days) and s.occurred_at < n.as_of - to_days(w.days)
        union
        select 'a new consent record', i.person_key
        from ledger.consent_events as e
        inner join intermediate.int_identifiers_resolved as i on e.controller = i.controller and e.token = i.token
        cross join nights as n
        where e.recorded_at > n.before and i.person_key is not null
        union
        select 'a consent begins or ends', u.person_key
        from intermediate.int_timelines as l
        inner join intermediate.int_units as u on l.unit_id = u.unit_id
        cross join nights as n
        where l.t0 > n.before and l.t0 <= n.as_of
    )
    select coalesce(why, 'any of these'), count(distinct person_key) from touched group by rollup (why)
    union all
    select 'people', count(distinct person_key) from seen
    order by 2
"""


@dataclass
class Night:
    """The CPU seconds of one night, by stage; those of dbt's nodes by their names too."""

    days: int
    stages: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    touched: dict[str, int] = field(default_factory=dict)
    carrying: float = 0.0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = cpu_seconds()
        yield
        self.stages[stage] = self.stages.get(stage, 0.0) + cpu_seconds() - started


def cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass(frozen=True)
class Shop:
    """A home, and the files that its sources deliver in time."""

    home: Home
    policy: Policy
    keys: Keys
    project: Path
    world: Path

    def deliver(self, as_of: datetime) -> None:
        """What had arrived by `as_of` moves into landing."""
        today = as_of.astimezone(ZoneInfo(self.policy.organisation.zone)).date()
        feeds: list[Feed | ConsentFeed] = [*self.policy.sources.consent_feeds]
        feeds += [feed for source in self.policy.sources.sources for feed in source.feeds]
        for feed in feeds:
            for delivery in deliveries(self.world, feed):
                if (delivery.day or date.min) < today:
                    target = self.home.landing / delivery.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    delivery.path.rename(target)
                    if delivery.marker is not None and delivery.is_complete:
                        delivery.marker.rename(target.with_name(delivery.marker.name))

    def read_in(self, night: Night, as_of: datetime) -> Build:
        """From landing to a staged build with its identities."""
        with self.home.lock():
            with night.timed("ingestion"):
                ingest_all(self.home, self.policy, self.keys, self.home.landing, as_of=as_of, now=as_of)
            with night.timed("consent import"):
                import_feeds(self.home, self.policy, self.keys, self.home.landing, now=as_of)
            with night.timed("staging"):
                build = stage_inputs(self.home, self.policy, self.keys, as_of=as_of, policy_dir=SHIPPED)
            with night.timed("identity"):
                resolve_identities(self.home, build, self.policy)
        return build

    def run(self, days: int, as_of: datetime, folder: Path) -> Night:
        """The night of `as_of`, after `days` days."""
        night, before = Night(days), as_of - timedelta(days=1)
        self.deliver(before)
        self.read_in(Night(days), before)  # so that what is kept from night to night is there
        self.deliver(as_of)
        build = self.read_in(night, as_of)
        file = build.path(self.home)
        inputs = Path(shutil.copy(file, folder / "inputs.duckdb"))
        with night.timed("dbt"):
            run = run_build(self.home, file, self.project)
        if not run.succeeded:
            sys.exit("the dbt build failed")
        self._time_nodes(night, run.target, inputs, file.stem)
        inputs.unlink()
        self._leave(night, build, run.target, as_of)
        self._measure_sizes(night, build, file.stem)
        return night

    def _time_nodes(self, night: Night, target: Path, inputs: Path, database: str) -> None:
        """Moves out of dbt's time that of the statements it ran, by folder of the models, tests apart."""
        con = connect(self.home, Path(":memory:"))
        try:
            con.execute(f"attach '{inputs}' as \"{database}\"")
            con.execute(f'use "{database}"')
            for node in compiled_nodes(target):
                is_test = node["resource_type"] == "test"
                stage = "SQL of tests" if is_test else f"SQL of {'/'.join(node['fqn'][1:-1])}"
                started = cpu_seconds()
                run_node(con, node)
                spent = cpu_seconds() - started
                name = f"{'test ' if is_test else ''}{node['name']}"
                night.nodes[name] = night.nodes.get(name, 0.0) + spent
                night.stages[stage] = night.stages.get(stage, 0.0) + spent
            night.carrying = carry_over(con, database, inputs.with_name("carried.duckdb"))
        finally:
            con.close()
        whole = night.stages.pop("dbt")
        bare = sum(seconds for stage, seconds in night.stages.items() if stage.startswith("SQL"))
        night.stages["dbt itself"] = max(whole - bare, 0.0)

    def _leave(self, night: Night, build: Build, target: Path, as_of: datetime) -> None:
        """Checks, publication, exports and the content hash that the report states."""
        with night.timed("checks of marts"):
            con = connect(self.home, build.path(self.home), read_only=True)
            checks: list[CheckResult] = check_marts(con, self.policy, as_of=as_of)
            con.close()
        with night.timed("proof"):
            checks += checks_of(self.policy, prove_build(self.home, self.policy, self.keys, build, now=as_of).verdicts)
        with night.timed("release, publish"):
            release(self.home, build, [*dbt_checks(target, self.project / "target" / "manifest.json"), *checks])
            publish(self.home, build, now=as_of)
        with night.timed("exports"):
            export_generation(
                self.home, self.policy, self.keys, now=as_of, policy_hash=policy_hash(self.policy, SHIPPED)
            )
        with night.timed("content hash"):
            content_hash(self.home, build.generation)

    def _measure_sizes(self, night: Night, build: Build, database: str) -> None:
        with duckdb.connect(str(build.file(self.home)), read_only=True) as con:
            for title, table in (
                ("ledger events", "ledger.consent_events"),
                ("identifiers", "identity.identifiers"),
                ("timelines", "intermediate.int_timelines"),
                ("touchpoints gated", "intermediate.int_touchpoints_gated"),
            ):
                (night.sizes[title],) = con.execute(f"select count(*) from {table}").fetchall()[0]
            night.touched = dict(con.execute(TOUCHED).fetchall())
        totals = [source_totals(self.home, source.name) for source in self.policy.sources.sources]
        night.sizes["touchpoints"] = sum(total["accepted"] for total in totals)


def carry_over(con: duckdb.DuckDBPyConnection, database: str, target: Path) -> float:
    """CPU seconds to copy what dbt built, as it is, into a new file: less than any build that writes a whole file."""
    tables = con.execute(
        "select schema_name, table_name from duckdb_tables() "
        "where database_name = ? and schema_name in (select unnest(?))",
        [database, list(CARRIED)],
    ).fetchall()
    con.execute(f"attach '{target}' as carried")
    started = cpu_seconds()
    for schema, table in tables:
        con.execute(f"create schema if not exists carried.{schema}")
        con.execute(f'create table carried.{schema}."{table}" as select * from "{database}".{schema}."{table}"')
    spent = cpu_seconds() - started
    con.execute("detach carried")
    target.unlink()
    return spent


def growth(days: Sequence[int], seconds: Sequence[float]) -> float:
    """The exponent of growth: the slope of log seconds over log days. 0 is constant, 1 is in step with history.

    One length of history says nothing of growth: NaN."""
    if len(days) < 2:
        return float("nan")
    return float(np.polyfit(np.log(days), np.log(np.maximum(seconds, 1e-4)), 1)[0])


def report(nights: Sequence[Night]) -> None:
    days, last = [night.days for night in nights], nights[-1]
    print(f"\n  {'CPU seconds at days of history':<34}" + "".join(f"{n:>9}" for n in days) + "   growth   share")
    total = sum(last.stages.values())
    for stage in last.stages:
        _line(stage, days, [night.stages.get(stage, 0.0) for night in nights], total)
    _line("the whole night", days, [sum(night.stages.values()) for night in nights], total)
    print("\n  dbt's dearest models and tests, within the SQL above")
    for name in sorted(last.nodes, key=lambda name: -last.nodes[name])[:SHOWN]:
        _line(name, days, [night.nodes.get(name, 0.0) for night in nights], total)
    print("\n  what changed people only could save")
    sql = [sum(seconds for stage, seconds in n.stages.items() if stage.startswith("SQL")) for n in nights]
    _line("all SQL of dbt", days, sql, total)
    _line("carrying every table over", days, [night.carrying for night in nights], total)
    for why, count in last.touched.items():
        cells = "".join(f"{night.touched.get(why, 0):>9,}" for night in nights)
        print(f"  {why:<34}{cells}{'':9}{count / max(last.touched['people'], 1):8.0%}")
    print("\n  rows")
    for title in last.sizes:
        counts = [night.sizes[title] for night in nights]
        print(f"  {title:<34}" + "".join(f"{n:>9,}" for n in counts) + f"{growth(days, counts):9.2f}")


def _line(title: str, days: Sequence[int], seconds: Sequence[float], total: float) -> None:
    cells = "".join(f"{s:9.2f}" for s in seconds)
    print(f"  {title[:34]:<34}{cells}{growth(days, seconds):9.2f}{seconds[-1] / total:8.0%}")


@click.command(help=__doc__)
@click.option("--people", default=40_000, show_default=True, help="40,000 people leave about 20,000 touchpoints a day.")
@click.option("--history", default="30,60,120,240", show_default=True, help="Days, rising, by commas.")
def main(people: int, history: str) -> None:
    lengths = [int(part) for part in history.split(",")]
    importlib.import_module("great_expectations")  # every night pays for it once; here the first would pay for all
    folder = Path(tempfile.mkdtemp(prefix="assent-bench."))
    try:
        home, policy = Home.open(folder / "home", demo_seed=7), load_policy(SHIPPED)
        shop = Shop(home, policy, Keys.open(home), prepare(home, policy, SHIPPED), folder / "world")
        world = make_world(shop.world, policy, seed=7, people=people, days=max(lengths) + 1, as_of=LAST)
        daily = sum(world.touchpoints.values()) // world.days
        print(f"  {daily:,} touchpoints and {world.consent_records // world.days:,} consent records a day", flush=True)
        nights = []
        for days in lengths:
            nights.append(shop.run(days, LAST - timedelta(days=max(lengths) - days), folder))
            print(f"  {days} days: {sum(nights[-1].stages.values()):.1f} s", flush=True)
        report(nights)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
