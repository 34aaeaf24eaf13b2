"""How worlds reach the tables that the models read, and the models' compiled SQL on bare DuckDB."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from graphlib import TopologicalSorter
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.identity.resolve import resolve
from orchestration.policy.loader import SHIPPED
from orchestration.policy.schema import Policy
from orchestration.policy.tables import write_policy_tables
from orchestration.warehouse.models import Models
from orchestration.warehouse.relations import relations
from orchestration.warehouse.sensitivity import stages_read
from tests.oracle import Touchpoint, World
from tests.oracle.facts import Node

Row = dict[str, Any]
SENSITIVE_SEGMENTS = frozenset({"follow_up"})
EVENT_OF = {
    "behaviour": "page_viewed",
    "transaction": "order_completed",
    "identification": "logged_in",
    "preference": "like_topic",  # of the source `app`; the others are of `web`
    "sensitive": "order_completed",
    None: "not_in_policy",
}


def create_tables(con: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """Every table that a build file holds, typed and empty."""
    con.execute("set timezone = 'UTC'")
    for schema, tables in relations(policy).items():
        con.execute(f"create schema if not exists {schema}")
        for table, columns in tables.items():
            if schema != "policy":
                declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
                con.execute(f"create or replace table {schema}.{table} ({declared})")


def stage_worlds(con: duckdb.DuckDBPyConnection, policy: Policy, worlds: Sequence[World]) -> None:
    """Writes the worlds as the tables of a build, and resolves their identifiers as a build does."""
    create_tables(con, policy)
    stages = stages_read(policy, Models(SHIPPED))
    write_policy_tables(con, policy, policy_hash="test", sensitive_segments=SENSITIVE_SEGMENTS, stages_read=stages)
    as_of = _naive(worlds[0].as_of)
    con.execute("insert into meta.builds by name select 'test' as generation, ?::timestamp as as_of", [as_of])
    con.execute("insert into identity.purpose_keys select purpose, sha256(purpose) from policy.purposes")
    for table, rows in _tables(worlds).items():
        insert(con, table, rows)
    resolve(con, worlds[0].as_of, [source.name for source in policy.sources.sources])


def insert(con: duckdb.DuckDBPyConnection, table: str, rows: list[Row]) -> None:
    if rows:
        con.register("rows_to_insert", pa.Table.from_pylist(rows))
        con.execute(f"insert into {table} by name select * from rows_to_insert")
        con.unregister("rows_to_insert")


def _tables(worlds: Sequence[World]) -> dict[str, list[Row]]:
    return {
        "ledger.consent_events": [_told(w, e.node) | _plain(e) for w in worlds for e in w.events],
        "ledger.contracts": [_told(w, c.node) | _plain(c) for w in worlds for c in w.contracts],
        "ledger.ages": [_told(w, a.node) | _plain(a) for w in worlds for a in w.ages],
        "ledger.statuses": [_told(w, s.node) | _plain(s) for w in worlds for s in w.statuses],
        "identity.links": [row for w in worlds for row in _links(w)],
        "lake.web": [_touchpoint(w, t) for w in worlds for t in w.touchpoints if t.source != "app"],
        "lake.app": [_touchpoint(w, t) for w in worlds for t in w.touchpoints if t.source == "app"],
        # An identifier that nothing else names is known by a permission, which grants nothing.
        "ledger.permissions": [
            _told(w, n) | {"controller": n[0], "token": n[1], "channel": "store", "state": "closed"}
            for w in worlds for n in w.kinds
        ],
    }  # fmt: skip


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def _plain(record: Any) -> Row:
    return {n: _naive(v) if isinstance(v, datetime) else v for n, v in vars(record).items()}


def _told(world: World, node: Node) -> Row:
    kind, issuer = world.kinds[node]
    return {"seq": 1, "kind": kind, "issuer": issuer, "recorded_at": _naive(world.as_of)}


def _links(world: World) -> Iterable[Row]:
    for link in world.links:
        row: Row = {"controller": link.controller, "method": "login", "is_unlink": link.is_unlink}
        for end, token in (("a", link.a), ("b", link.b)):
            kind, issuer = world.kinds[link.controller, token]
            row |= {f"token_{end}": token, f"kind_{end}": kind, f"issuer_{end}": issuer}
        yield row | {"effective_at": _naive(link.effective_at), "recorded_at": _naive(world.as_of)}


def _touchpoint(world: World, touchpoint: Touchpoint) -> Row:
    """A sensitive touchpoint is a transaction with an item on policy's list."""
    category = touchpoint.category
    kind, issuer = (None, None) if touchpoint.token is None else world.kinds[touchpoint.controller, touchpoint.token]
    return {
        "touchpoint_key": touchpoint.key,
        "source": touchpoint.source,
        "controller": touchpoint.controller,
        "subject_token": touchpoint.token,
        "subject_kind": kind,
        "subject_issuer": issuer,
        "occurred_at": _naive(touchpoint.occurred_at),
        "business_day": (touchpoint.occurred_at + timedelta(hours=8)).date(),
        "raw_event": EVENT_OF[category],
        "item": "med-laser" if category == "sensitive" else "cream",
    }


@dataclass(frozen=True)
class Chain:
    """The compiled models up to those named, in an order in which they can run."""

    nodes: list[Row]

    @classmethod
    def of(cls, manifest: Row, *names: str) -> Chain:
        """The models that the named ones are made from, and they themselves; without names, every model and test."""
        nodes = {k: n for k, n in manifest["nodes"].items() if n["resource_type"] in ("model", "test")}
        needed = {k: set(n["depends_on"]["nodes"]) & nodes.keys() for k, n in nodes.items()}
        wanted = {k for k, n in nodes.items() if not names or n["name"] in names}
        while more := {parent for k in wanted for parent in needed[k]} - wanted:
            wanted |= more
        order = TopologicalSorter({k: needed[k] for k in wanted}).static_order()
        return cls([nodes[key] for key in order])

    def with_tests(self, manifest: Row) -> Chain:
        """The same, and the models' tests that read nothing else."""
        here = {node["unique_id"] for node in self.nodes}
        others = (node for node in Chain.of(manifest).nodes if node["unique_id"] not in here)
        models = {key for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
        return Chain([*self.nodes, *(n for n in others if n["resource_type"] == "test"
                                     and models & set(n["depends_on"]["nodes"]) <= here)])  # fmt: skip

    def changed_by(self, old: str) -> Chain:
        """Those that hold `old`, and what is made from them: in a file that dbt built, the others stay as they are."""
        touched: set[str] = set()
        for node in self.nodes:
            if old in node["compiled_code"] or touched & set(node["depends_on"]["nodes"]):
                touched.add(node["unique_id"])
        return Chain([node for node in self.nodes if node["unique_id"] in touched])

    @property
    def database(self) -> str:
        return str(self.nodes[0]["database"])

    def open(self) -> duckdb.DuckDBPyConnection:
        """An empty database in memory under the name that the SQL was compiled for."""
        con = duckdb.connect()
        con.execute(f'attach \':memory:\' as "{self.database}"; use "{self.database}"; set threads = 1')
        for schema in sorted({node["schema"] for node in self.nodes}):
            con.execute(f'create schema if not exists "{schema}"')
        return con

    def run(self, con: duckdb.DuckDBPyConnection, old: str = "", new: str = "") -> list[str]:
        """Runs the models, `old` changed to `new`; the names of the models' tests that failed."""
        assert any(old in node["compiled_code"] for node in self.nodes), "there is nothing to change"
        failed = []
        for node in self.nodes:
            sql = node["compiled_code"].replace(old, new) if old else node["compiled_code"]
            if node["resource_type"] == "test":
                if con.execute(f"select count(*) from ({sql})").fetchone() != (0,):
                    failed.append(node["name"])
            else:
                kind = "view" if node["config"]["materialized"] == "view" else "table"
                con.execute(f'create or replace {kind} "{node["schema"]}"."{node["alias"]}" as {sql}')
        return failed
