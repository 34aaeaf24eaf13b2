"""Numbers the identifiers and links of a build for `graph.py`: which there are, which links are in force at T, and
since when an identifier is in the hands of its holder. Not here: who is one person."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import duckdb
import numpy as np
import numpy.typing as npt

from orchestration.identity.graph import NONE, Bools, Ints, Links, Nodes
from orchestration.identity.remembered import Names

LEDGER_TABLES = ("consent_events", "permissions", "contracts", "ages", "statuses")


def number_all(con: duckdb.DuckDBPyConnection, as_of: datetime, sources: Iterable[str]) -> tuple[Nodes, Links]:
    """Makes the temporary tables `identifiers`, `links_on_record` and `hand_overs`, and reads the first two."""
    con.execute("SET VARIABLE assent_as_of = ?::TIMESTAMP", [as_of.astimezone(UTC).replace(tzinfo=None)])
    _number_identifiers(con, sources)
    _number_links(con)
    _find_hand_overs(con)
    return _read_nodes(con), _read_links(con)


def _number_identifiers(con: duckdb.DuckDBPyConnection, sources: Iterable[str]) -> None:
    """Every identifier that appears anywhere, from 0: anchors, other strong, weak; each in the order of their tokens.

    So the first of a group names it, and what is weak never changes that name."""
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
            SELECT controller, token, min(kind) AS kind, min(issuer) AS issuer
            FROM appearing WHERE controller IS NOT NULL AND token IS NOT NULL
            GROUP BY controller, token
        ),
        ruled AS (
            SELECT
                s.*,
                coalesce(k.is_strong, false) AS is_strong,
                coalesce(k.is_strong AND k.is_anchor, false) AS is_anchor,
                coalesce(k.max_links, 0) AS max_links,    -- a kind that policy does not know joins nobody
                k.reissued_after_days
            FROM single AS s LEFT JOIN policy.identifier_kinds AS k ON s.kind = k.kind
        ),
        classes AS (
            SELECT kind, issuer, row_number() OVER (ORDER BY kind, issuer) AS anchor_class
            FROM ruled WHERE is_anchor GROUP BY kind, issuer
        )
        SELECT
            row_number() OVER (ORDER BY NOT r.is_anchor, NOT r.is_strong, r.controller, r.token) - 1 AS node,
            r.*,
            coalesce(c.anchor_class, {NONE}) AS anchor_class
        FROM ruled AS r LEFT JOIN classes AS c ON r.is_anchor AND r.kind = c.kind AND r.issuer = c.issuer
    """)


def _number_links(con: duckdb.DuckDBPyConnection) -> None:
    """Every pair that a record ever named. It is linked where the last record up to T links: unlinking wins a tie, and
    who is erased is linked to nobody any more, as if unlinked then."""
    con.execute("""
        CREATE OR REPLACE TEMP TABLE erased AS
        SELECT i.node, s.erased_at
        FROM (
            SELECT
                controller, token,
                arg_max(state, {'at': effective_at, 'is_on': state = 'on', 'seq': seq}) AS state,
                min(effective_at) FILTER (state = 'on') AS erased_at
            FROM ledger.statuses
            -- erasure acts at once; what lifts it waits for its time
            WHERE status = 'erased' AND (state = 'on' OR effective_at <= getvariable('assent_as_of'))
            GROUP BY controller, token
        ) AS s
        INNER JOIN identifiers AS i ON s.controller = i.controller AND s.token = i.token
        WHERE s.state = 'on';

        CREATE OR REPLACE TEMP TABLE recorded AS
        SELECT
            least(x.node, y.node) AS a, greatest(x.node, y.node) AS b,
            coalesce(l.is_unlink, true) AS is_unlink,
            CASE WHEN l.effective_at <= getvariable('assent_as_of') THEN l.effective_at END AS effective_at
        FROM identity.links AS l
        INNER JOIN identifiers AS x ON l.controller = x.controller AND l.token_a = x.token
        INNER JOIN identifiers AS y ON l.controller = y.controller AND l.token_b = y.token
        WHERE l.token_a <> l.token_b;

        CREATE OR REPLACE TEMP TABLE pairs AS
        SELECT
            a, b,
            min(effective_at) FILTER (NOT is_unlink) AS first_linked_at,
            max(effective_at) FILTER (NOT is_unlink) AS last_linked_at,
            max(effective_at) FILTER (is_unlink) AS unlinked_at
        FROM recorded
        GROUP BY a, b;

        CREATE OR REPLACE TEMP TABLE links_on_record AS
        WITH linked_again AS (
            SELECT r.a, r.b, min(r.effective_at) AS began_at
            FROM recorded AS r
            INNER JOIN pairs AS p ON r.a = p.a AND r.b = p.b AND p.unlinked_at < r.effective_at
            WHERE NOT r.is_unlink
            GROUP BY r.a, r.b
        )
        SELECT
            p.a, p.b, p.last_linked_at,
            coalesce(g.began_at, p.first_linked_at) AS began_at,
            least(ea.erased_at, eb.erased_at) AS gone_at,    -- least() and greatest() pass over what is null
            greatest(p.unlinked_at, gone_at) AS unlinked_at,
            gone_at IS NULL AND coalesce(p.last_linked_at > coalesce(p.unlinked_at, '-infinity'), false) AS is_linked
        FROM pairs AS p
        LEFT JOIN linked_again AS g ON p.a = g.a AND p.b = g.b
        LEFT JOIN erased AS ea ON p.a = ea.node
        LEFT JOIN erased AS eb ON p.b = eb.node
    """)


def _find_hand_overs(con: duckdb.DuckDBPyConnection) -> None:
    """Which identifiers passed to another holder, and when the present one began. An anchor never does.

    Issued anew: links to another anchor of a class began so many days after the last to any other. What was last seen
    before that lapses. Given up: it was unlinked, and a link to somebody else began at or after that."""
    con.execute("""
        CREATE OR REPLACE TEMP TABLE issued_anew AS
        WITH holders AS (    -- anchors are numbered first, so the anchor of a pair is its `a`
            SELECT l.b AS node, x.anchor_class, l.a AS holder, l.began_at, l.last_linked_at, y.reissued_after_days
            FROM links_on_record AS l
            INNER JOIN identifiers AS y ON l.b = y.node AND NOT y.is_anchor AND y.reissued_after_days IS NOT NULL
            INNER JOIN identifiers AS x ON l.a = x.node AND x.is_anchor
            WHERE l.is_linked
        ),
        latest AS (
            SELECT *, row_number() OVER (PARTITION BY node, anchor_class ORDER BY began_at DESC, holder) AS place
            FROM holders
        ),
        by_class AS (
            SELECT
                node, anchor_class,
                max(began_at) FILTER (place = 1) AS held_since,
                max(last_linked_at) FILTER (place > 1) AS left_at,
                max(reissued_after_days) AS days
            FROM latest
            GROUP BY node, anchor_class
        )
        SELECT node, max(held_since) AS held_since
        FROM by_class
        WHERE held_since >= left_at + to_days(days::INTEGER)
        GROUP BY node;

        CREATE OR REPLACE TEMP TABLE given_up AS
        WITH ends AS (
            SELECT a AS node, b AS other, began_at, unlinked_at, is_linked FROM links_on_record
            UNION ALL
            SELECT b AS node, a AS other, began_at, unlinked_at, is_linked FROM links_on_record
        ),
        given AS (
            SELECT e.node, e.other, e.unlinked_at
            FROM ends AS e
            INNER JOIN identifiers AS i ON e.node = i.node AND NOT i.is_anchor
            INNER JOIN identifiers AS o ON e.other = o.node
            WHERE NOT e.is_linked AND e.unlinked_at IS NOT NULL
                AND (o.is_anchor OR i.reissued_after_days IS NOT NULL)
        ),
        taken AS (
            SELECT g.node, g.other, min(e.began_at) AS held_since
            FROM given AS g
            INNER JOIN ends AS e ON g.node = e.node AND g.other <> e.other AND e.began_at >= g.unlinked_at
            GROUP BY g.node, g.other
        )
        SELECT node, max(held_since) AS held_since FROM taken GROUP BY node;

        CREATE OR REPLACE TEMP TABLE hand_overs AS
        SELECT node, max(held_since) AS held_since
        FROM (SELECT * FROM issued_anew UNION ALL SELECT * FROM given_up)
        GROUP BY node
    """)


def _read_nodes(con: duckdb.DuckDBPyConnection) -> Nodes:
    table = con.execute("SELECT is_strong, anchor_class, max_links FROM identifiers ORDER BY node").to_arrow_table()
    return Nodes(bools(table["is_strong"]), ints(table["anchor_class"]), ints(table["max_links"]))


def read_names(con: duckdb.DuckDBPyConnection) -> Names | None:
    """Whom the numbers stand for. None where a token is not one of ours, so that numbers cannot be compared."""
    table = con.execute("""
        SELECT
            TRY_CAST('0x' || left(token, 16) AS UBIGINT) AS high,
            TRY_CAST('0x' || substr(token, 17) AS UBIGINT) AS low,
            length(token) = 32 AS is_token
        FROM identifiers ORDER BY node
    """).to_arrow_table()
    if table["high"].null_count or table["low"].null_count or not bools(table["is_token"]).all():
        return None
    stretches = con.execute("""
        SELECT concat_ws(' ', is_anchor, is_strong, controller), max(node) + 1
        FROM identifiers GROUP BY is_anchor, is_strong, controller ORDER BY 2
    """).fetchall()
    rules = con.execute("""
        SELECT concat_ws(' ', kind, is_strong, is_anchor, max_links) FROM policy.identifier_kinds ORDER BY ALL
    """).fetchall()
    classes = con.execute("""
        SELECT concat_ws(' ', kind, issuer) FROM identifiers WHERE is_anchor
        GROUP BY kind, issuer, anchor_class ORDER BY anchor_class
    """).fetchall()
    words = (np.asarray(table[name], dtype=np.uint64) for name in ("high", "low"))
    return Names(tuple(stretches), tuple(text for (text,) in rules + classes), *words)


def _read_links(con: duckdb.DuckDBPyConnection) -> Links:
    table = con.execute("""
        SELECT
            l.a, l.b,
            l.is_linked AND coalesce(l.last_linked_at >= greatest(ra.held_since, rb.held_since), true) AS in_force
        FROM links_on_record AS l
        LEFT JOIN issued_anew AS ra ON l.a = ra.node
        LEFT JOIN issued_anew AS rb ON l.b = rb.node
        ORDER BY l.a, l.b
    """).to_arrow_table()
    return Links(np.stack([ints(table["a"]), ints(table["b"])]), bools(table["in_force"]))


def ints(column: npt.ArrayLike) -> Ints:
    return np.asarray(column, dtype=np.int64)


def bools(column: npt.ArrayLike) -> Bools:
    return np.asarray(column, dtype=np.bool_)
