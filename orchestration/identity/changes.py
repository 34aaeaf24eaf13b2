"""Counts how the people of a build differ from those of the generation in force. Counts only: no token leaves here."""

from __future__ import annotations

import duckdb

from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.warehouse.build import warehouse_file
from orchestration.warehouse.publish import published

Counts = dict[str, int]
# A person is a group of identifiers under one controller; who shares an identifier is not known by it.
PEOPLE = "SELECT controller, token, group_token FROM {}.identifiers WHERE NOT is_ambiguous"


def count_changes(home: Home, con: duckdb.DuckDBPyConnection) -> Counts:
    """Of the people in `con`: unchanged, grown or shrunk, joined of several, new; and those that were split or are
    gone. `people_renamed` have another key than the one person they come from. Nothing to compare: {}."""
    try:
        current = published(home)
    except HomeError:
        current = None  # the build that mends it says so elsewhere
    if current is None:
        return {}
    path = str(warehouse_file(home, current.generation)).replace("'", "''")
    con.execute(f"ATTACH '{path}' AS in_force (READ_ONLY)")
    try:
        return compare(con, "in_force.identity", "identity")
    finally:
        con.execute("DETACH in_force")


def compare(con: duckdb.DuckDBPyConnection, before: str, now: str) -> Counts:
    """The same between two schemas of one connection."""
    row = con.execute(f"""
        WITH
        old AS ({PEOPLE.format(before)}),
        new AS ({PEOPLE.format(now)}),
        old_people AS (SELECT controller, group_token, count(*) AS size FROM old GROUP BY ALL),
        new_people AS (SELECT controller, group_token, count(*) AS size FROM new GROUP BY ALL),
        met AS (    -- old person × new person that have identifiers in common
            SELECT o.controller, o.group_token AS old_token, n.group_token AS new_token, count(*) AS shared
            FROM old AS o INNER JOIN new AS n ON o.controller = n.controller AND o.token = n.token
            GROUP BY ALL
        ),
        became AS (
            SELECT
                p.size, count(m.old_token) AS olds, coalesce(sum(m.shared), 0) AS shared,
                any_value(o.size) AS old_size,
                coalesce(bool_or(m.old_token = p.group_token), false) AS is_same_name
            FROM new_people AS p
            LEFT JOIN met AS m ON p.controller = m.controller AND p.group_token = m.new_token
            LEFT JOIN old_people AS o ON m.controller = o.controller AND m.old_token = o.group_token
            GROUP BY p.controller, p.group_token, p.size
        ),
        was AS (
            SELECT count(m.new_token) AS news
            FROM old_people AS p
            LEFT JOIN met AS m ON p.controller = m.controller AND p.group_token = m.old_token
            GROUP BY p.controller, p.group_token
        ),
        split AS (SELECT count(*) FILTER (news = 0) AS gone, count(*) FILTER (news > 1) AS split FROM was)
        SELECT
            count(*) FILTER (olds = 0) AS new,
            any_value(s.gone) AS gone,
            count(*) FILTER (olds > 1) AS joined,
            any_value(s.split) AS split,
            count(*) FILTER (olds = 1 AND size = shared AND size = old_size) AS unchanged,
            count(*) FILTER (olds = 1 AND NOT (size = shared AND size = old_size)) AS changed,
            count(*) FILTER (olds = 1 AND NOT is_same_name) AS renamed
        FROM became CROSS JOIN split AS s
    """).fetchone()
    names = ("new", "gone", "joined", "split", "unchanged", "changed", "renamed")
    return {f"people_{name}": int(number or 0) for name, number in zip(names, row or (), strict=True)}
