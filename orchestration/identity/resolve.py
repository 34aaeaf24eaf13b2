"""Resolves the identifiers of a build into groups (people) and says whom a denial on each of them reaches.

Reads lake, ledger and `identity.links` of the build file, writes `identity.identifiers` and `identity.denial_reach`.
Whether a group may be used as one person is a matter of consent: that is decided in dbt."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa

from orchestration.home import Home
from orchestration.identity.graph import NONE, Bools, Ints, Partition, components, partition
from orchestration.policy.schema import Policy
from orchestration.warehouse.build import Build
from orchestration.warehouse.duckdb_settings import connect

LEDGER_TABLES = ("consent_events", "permissions", "contracts", "ages", "statuses")


def resolve_identities(home: Home, build: Build, policy: Policy) -> None:
    """Writes the identity tables into the build file."""
    con = connect(home, build.file(home))
    try:
        resolve(con, build.as_of, [source.name for source in policy.sources.sources])
    finally:
        con.close()


def resolve(con: duckdb.DuckDBPyConnection, as_of: datetime, sources: Iterable[str]) -> None:
    """The same on an open connection. `policy.identifier_kinds` says which kinds are strong, and which are anchors."""
    _number_identifiers(con, sources)
    _number_links(con, as_of)
    nodes = int(_column(con, "SELECT count(*) AS n FROM identifiers", "n")[0])
    links = con.execute("SELECT a, b, is_in_force FROM links_on_record ORDER BY a, b").to_arrow_table()
    ever = np.stack([_numpy(links, "a"), _numpy(links, "b")], axis=1)
    in_force = links["is_in_force"].to_numpy().astype(np.bool_)
    anchor_class = _column(con, "SELECT anchor_class FROM identifiers ORDER BY node", "anchor_class")

    people = partition(nodes, ever[in_force], anchor_class)
    holds = _holds(ever, in_force, people)
    ends_ambiguous = people.is_ambiguous[ever].any(axis=1)
    reach = components(nodes, ever[~ends_ambiguous])
    is_loose = np.zeros(nodes, dtype=np.bool_)
    is_loose[ever[~holds].reshape(-1)] = True
    _write(con, people, reach, is_loose)


def _holds(ever: Ints, in_force: Bools, people: Partition) -> Bools:
    """Which links on record really join their two ends: in force, not cut, no ambiguous end."""
    holds = in_force.copy()
    holds[in_force] = ~people.is_cut
    return holds & ~people.is_ambiguous[ever].any(axis=1)


def _number_identifiers(con: duckdb.DuckDBPyConnection, sources: Iterable[str]) -> None:
    """Every identifier that appears anywhere, numbered from 0 in the order of (controller, token)."""
    named = "SELECT controller, token{0} AS token, kind{0} AS kind, issuer{0} AS issuer FROM {1}"
    parts = [
        "SELECT DISTINCT controller, subject_token AS token, subject_kind AS kind, subject_issuer AS issuer "
        f'FROM lake."{source}" WHERE subject_token IS NOT NULL'
        for source in sources
    ]
    parts += [named.format(end, "identity.links") for end in ("_a", "_b")]
    parts += [named.format("", f"ledger.{table}") for table in LEDGER_TABLES]
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE identifiers AS
        WITH appearing AS ({" UNION ALL ".join(parts)}),
        single AS (
            SELECT controller, token, min(kind) AS kind, min(issuer) AS issuer FROM appearing GROUP BY ALL
        )
        SELECT
            row_number() OVER (ORDER BY controller, token) - 1 AS node,
            s.*,
            coalesce(k.is_strong, false) AS is_strong,
            coalesce(k.is_anchor, false) AS is_anchor,
            CASE WHEN k.is_anchor THEN dense_rank() OVER (ORDER BY s.kind, s.issuer) ELSE {NONE} END::BIGINT
                AS anchor_class
        FROM single AS s LEFT JOIN policy.identifier_kinds AS k ON s.kind = k.kind
    """)


def _number_links(con: duckdb.DuckDBPyConnection, as_of: datetime) -> None:
    """Every pair that a record ever named; in force where the last record up to T links. Unlinking wins a tie."""
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE links_on_record AS
        WITH pairs AS (
            SELECT
                controller, least(token_a, token_b) AS a, greatest(token_a, token_b) AS b,
                arg_max(is_unlink, (effective_at, is_unlink)) FILTER (effective_at <= $as_of) AS is_unlinked
            FROM identity.links
            WHERE token_a <> token_b
            GROUP BY ALL
        )
        SELECT x.node AS a, y.node AS b, NOT coalesce(p.is_unlinked, true) AS is_in_force
        FROM pairs AS p
        INNER JOIN identifiers AS x ON p.controller = x.controller AND p.a = x.token
        INNER JOIN identifiers AS y ON p.controller = y.controller AND p.b = y.token
        """,
        {"as_of": as_of.astimezone(UTC).replace(tzinfo=None)},
    )


def _write(con: duckdb.DuckDBPyConnection, people: Partition, reach: Ints, is_loose: Bools) -> None:
    """The two tables. Ids count from 1: 0 is nobody in the models."""
    con.register(
        "resolved",
        pa.table(
            {
                "node": np.arange(len(reach)),
                "first": people.group,
                "is_ambiguous": people.is_ambiguous,
                "reach": reach,
                "is_loose": is_loose,
            }
        ),
    )
    con.execute("""
        CREATE SCHEMA IF NOT EXISTS identity;
        CREATE OR REPLACE TEMP TABLE grouped AS
        SELECT i.*, r.is_ambiguous, r.reach, r.first, dense_rank() OVER (ORDER BY r.first) AS group_id, r.is_loose
        FROM identifiers AS i INNER JOIN resolved AS r ON i.node = r.node;

        CREATE OR REPLACE TABLE identity.identifiers AS
        SELECT
            node + 1 AS identifier_id, controller, token, kind, issuer, is_strong, is_anchor, is_ambiguous, group_id,
            min(token) OVER (PARTITION BY group_id) AS group_token,
            count(*) OVER (PARTITION BY group_id) AS group_size,
            NOT bool_or(is_loose) OVER (PARTITION BY group_id) AS is_whole
        FROM grouped
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


def _column(con: duckdb.DuckDBPyConnection, sql: str, name: str) -> Ints:
    return _numpy(con.execute(sql).to_arrow_table(), name)


def _numpy(table: pa.Table, name: str) -> Ints:
    return np.asarray(table[name].to_numpy(), dtype=np.int64)
