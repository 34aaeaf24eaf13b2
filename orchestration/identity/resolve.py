"""Resolves the identifiers of a build into groups (people) and says whom a denial on each of them reaches.

Reads lake, ledger and `identity.links` of the build file, writes `identity.identifiers` and `identity.denial_reach`.
Whether a group may be used as one person is a matter of consent: that is decided in dbt."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import duckdb
import numpy as np
import pyarrow as pa

from orchestration.home import Home
from orchestration.identity.changes import Counts, count_changes
from orchestration.identity.graph import People, resolve_people
from orchestration.identity.incremental import Graph, Resolution, graph_of, update_people
from orchestration.identity.keys import Keys
from orchestration.identity.numbering import ints, number_all, read_names
from orchestration.identity.remembered import Memory, Names, old_numbers
from orchestration.policy.schema import Policy
from orchestration.warehouse.build import Build
from orchestration.warehouse.duckdb_settings import connect


def resolve_identities(home: Home, build: Build, policy: Policy) -> Counts:
    """Writes the identity tables into the build file. Returns how its people differ from those in force.

    What the last build resolved is used as far as it holds, and replaced. Hold the home's lock."""
    con = connect(home, build.file(home))
    try:
        memory = Memory(home, Keys.open(home), build.code_hash)
        resolve(con, build.as_of, [source.name for source in policy.sources.sources], memory)
        return count_changes(home, con)
    finally:
        con.close()


def resolve(
    con: duckdb.DuckDBPyConnection, as_of: datetime, sources: Iterable[str], memory: Memory | None = None
) -> None:
    """The same on an open connection. The rules for each kind are in `policy.identifier_kinds`."""
    nodes, links = number_all(con, as_of, sources)
    names = read_names(con) if memory else None
    if memory is None or names is None:
        people = resolve_people(nodes, links)
    else:
        graph = graph_of(nodes, links, names.low)
        people = _resolve_with(memory, names, graph)
        memory.write(Resolution(graph, people), names)
    _write(con, people)


def _resolve_with(memory: Memory, names: Names, now: Graph) -> People:
    before = memory.read()
    numbers = old_numbers(before.names, names) if before else None
    if before is None or numbers is None:
        return resolve_people(now.nodes, now.links)
    return update_people(before.resolution, now, numbers)


def _write(con: duckdb.DuckDBPyConnection, people: People) -> None:
    """The two tables. Ids count from 1: 0 is nobody in the models."""
    con.register(
        "resolved",
        pa.table(
            {
                "node": np.arange(len(people.group)),
                "name": ints(people.group),  # 64 bits, also where brought up to date: the type of `group_id`
                "is_ambiguous": people.is_ambiguous,
                "reach": ints(people.reach),
                "is_loose": people.is_loose,
            }
        ),
    )
    con.execute("""
        CREATE SCHEMA IF NOT EXISTS identity;
        CREATE OR REPLACE TEMP TABLE grouped AS
        SELECT i.*, r.is_ambiguous, r.reach, r.name, r.name + 1 AS group_id, r.is_loose
        FROM identifiers AS i INNER JOIN resolved AS r ON i.node = r.node;

        CREATE OR REPLACE TABLE identity.identifiers AS
        WITH groups AS (
            SELECT g.group_id, n.token AS group_token, count(*) AS group_size, NOT bool_or(g.is_loose) AS is_whole
            FROM grouped AS g INNER JOIN identifiers AS n ON g.name = n.node
            GROUP BY g.group_id, n.token
        )
        SELECT
            i.node + 1 AS identifier_id, i.controller, i.token, i.kind, i.issuer, i.is_strong, i.is_anchor,
            i.is_ambiguous, i.group_id, g.group_token, g.group_size, g.is_whole, h.held_since
        FROM grouped AS i
        INNER JOIN groups AS g ON i.group_id = g.group_id
        LEFT JOIN hand_overs AS h ON i.node = h.node
        ORDER BY identifier_id;
    """)
    con.unregister("resolved")
    _write_reach(con)


def _write_reach(con: duckdb.DuckDBPyConnection) -> None:
    """Whom a denial on an identifier reaches: every group that a path of links ever on record leads to. A path may
    begin or end at an ambiguous identifier, but never passes through one: it would spread a stranger's denial."""
    con.execute("""
        CREATE OR REPLACE TEMP TABLE touching AS  -- ambiguous identifier × the parts of the graph that it touches
        SELECT DISTINCT x.node, x.group_id, y.reach, y.is_ambiguous, y.group_id AS other_group
        FROM (SELECT a, b FROM links_on_record UNION ALL SELECT b, a FROM links_on_record) AS l
        INNER JOIN grouped AS x ON l.a = x.node AND x.is_ambiguous
        INNER JOIN grouped AS y ON l.b = y.node;

        CREATE OR REPLACE TEMP TABLE parts AS     -- part of the graph × every group that it leads to
        SELECT DISTINCT reach, group_id FROM grouped WHERE NOT is_ambiguous
        UNION
        SELECT reach, group_id FROM touching WHERE NOT is_ambiguous;

        CREATE OR REPLACE TABLE identity.denial_reach AS
        SELECT node + 1 AS identifier_id, p.group_id
        FROM grouped AS g INNER JOIN parts AS p ON g.reach = p.reach WHERE NOT g.is_ambiguous
        UNION
        SELECT node + 1, group_id FROM grouped WHERE is_ambiguous
        UNION
        SELECT t.node + 1, p.group_id FROM touching AS t INNER JOIN parts AS p ON t.reach = p.reach
        WHERE NOT t.is_ambiguous
        UNION
        SELECT node + 1, other_group FROM touching WHERE is_ambiguous
        ORDER BY ALL;
    """)
