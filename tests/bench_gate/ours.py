"""Our side of the comparison: the models' own compiled SQL, run piece by piece by bare DuckDB on a built file.

Every gate gives the same output, permitted touchpoints by mask with their number and the sum of their times, so that
no time goes into writing rows out. Not here: what is compared with what (`__main__.py`)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from orchestration.home import Home
from orchestration.warehouse.dbt import target_path
from orchestration.warehouse.duckdb_settings import connect
from tests.bench_gate.world import DATABASE

Digest = list[list[int]]  # mask, touchpoints, sum of their seconds
SECONDS = "sum(epoch(date_trunc('second', {at}))::bigint)"
GATE = f"""
    select permitted_mask, count(*), {SECONDS.format(at="occurred_at")} from ({{masked}})
    where permitted_mask <> 0 and is_known_source and person_key is not null group by permitted_mask order by 1
"""
TIMELINE = ("int_consent_intervals", "int_timelines", "int_timelines_by_identifier")
COUNTED = ("int_circumstances", "int_circumstances_decided", "decisions_by_purpose")
TOUCHPOINTS = f'"{DATABASE}"."intermediate"."int_touchpoints_unioned"'


class Models:
    """The compiled models of the last `dbt build` of this home, and a connection to a copy of what it read."""

    def __init__(self, home: Home) -> None:
        manifest = json.loads((target_path(home) / "manifest.json").read_text())
        self._nodes: dict[str, Any] = {
            n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"
        }
        self.con = connect(home)
        self.con.execute(f"attach '{home.building / DATABASE}.duckdb' as {DATABASE} (read_only)")
        self._redirected: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def sql(self, model: str) -> str:
        """The model's SQL; it reads what `build` has made anew, and the built file otherwise."""
        sql: str = self._nodes[model]["compiled_code"]
        for place, table in self._redirected.items():
            sql = sql.replace(place, table)
        return sql

    def build(self, model: str, *, kind: str = "table") -> None:
        """Makes the model anew in memory, as a table or a view."""
        node = self._nodes[model]
        started = time.process_time()
        self.con.execute(f"create temp {kind} {model} as {self.sql(model)}")
        self.seconds[model] = round(time.process_time() - started, 3)
        self._redirected[f'"{DATABASE}"."{node["schema"]}"."{node["alias"]}"'] = f"temp.main.{model}"

    def rows(self, sql: str) -> list[list[Any]]:
        return [list(row) for row in self.con.execute(sql).fetchall()]


def read(models: Models) -> Digest:
    """Bound: the three columns that a decision cannot do without."""
    return models.rows(
        f"select 0, count(subject_token) + count(raw_event), {SECONDS.format(at='occurred_at')} from {TOUCHPOINTS}"
    )


def prepare_join(models: Models) -> None:
    models.con.execute(f"""
        create temp table subjects as
        select i.controller, i.token, l.mask_then as mask_now
        from {DATABASE}.intermediate.int_identifiers_resolved as i
        inner join {DATABASE}.intermediate.int_timelines as l on i.unit_id = l.unit_id and l.t1 = timestamp 'infinity'
    """)


def join(models: Models) -> Digest:
    """Bound: one plain hash join of the touchpoints with one row per subject, with the same output."""
    return models.rows(f"""
        select s.mask_now, count(raw_event), {SECONDS.format(at="t.occurred_at")}
        from {TOUCHPOINTS} as t
        inner join subjects as s on t.controller = s.controller and t.subject_token = s.token
        where s.mask_now <> 0 group by s.mask_now order by 1
    """)


def gate(models: Models) -> Digest:
    """Admission only."""
    return models.rows(GATE.format(masked=models.sql("int_touchpoints_masked")))


def reasons(models: Models) -> Digest:
    """Admission with counts: how many touchpoints each purpose may use, and for which reason not the others."""
    models.build("int_touchpoints_masked", kind="view")
    for model in COUNTED:
        models.build(model, kind="view" if model == "int_circumstances_decided" else "table")
    return models.rows(f"select 0, sum(touchpoints), count(*) from {COUNTED[-1]} where reason = 'permit'")


def timeline(models: Models) -> Digest:
    """From the ledger's events to the masks of every subject."""
    models.build("int_consent_events_admitted")
    for model in TIMELINE:
        models.build(model)
    return models.rows("select 0, count(*), sum(mask_then) from int_timelines")


def decision(models: Models) -> Digest:
    """What the peers do too: from admitted events to timelines, and the touchpoints that they permit."""
    for model in TIMELINE:
        models.build(model)
    return gate(models)


REBUILDS = ("reasons", "timeline", "decision")  # make models anew: each needs a connection of its own
STAGES: dict[str, Callable[[Models], Digest]] = {
    "read": read, "join": join, "gate": gate, "reasons": reasons, "timeline": timeline, "decision": decision,
}  # fmt: skip
