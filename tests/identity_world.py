"""Small graphs of named identifiers: how they reach the tables that `resolve` reads, and what it then says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import duckdb

from orchestration.identity.numbering import LEDGER_TABLES
from orchestration.identity.resolve import resolve
from orchestration.warehouse.relations import DECLARED

AS_OF = datetime.fromisoformat("2026-11-01T00:00:00+00:00")
MOST, DAYS = 4, 5
# kind, by the first letter of a name → strong, anchor, most links, days after which it may be issued anew
KINDS = {
    "member": (True, True, MOST, None),
    "unionid": (True, True, MOST, None),
    "phone": (True, False, MOST, DAYS),
    "openid": (True, False, MOST, None),
    "cookie": (False, False, MOST, None),
    "device": (False, False, MOST, None),
}


@dataclass(frozen=True)
class Link:
    """A record about two identifiers, `days` after T; the kind is the name's first letter."""

    a: str
    b: str
    is_unlink: bool = False
    days: int = -1
    controller: str = "shop"


@dataclass(frozen=True)
class Resolved:
    groups: dict[str, frozenset[str]]
    ambiguous: set[str]
    whole: set[str]
    reach: dict[str, set[frozenset[str]]]
    held_since: dict[str, int] = field(default_factory=dict)  # days after T
    names: dict[str, str] = field(default_factory=dict)  # who names the group of each


def kind_of(name: str) -> str:
    return next(kind for kind in KINDS if kind[0] == name[0])


def make_tables() -> duckdb.DuckDBPyConnection:
    """Every table that `resolve` reads, empty but for the kinds."""
    con = duckdb.connect()
    con.execute("SET threads = 1")
    for schema in ("lake", "identity", "ledger", "policy"):
        con.execute(f"CREATE SCHEMA {schema}")
    tables = [("identity", "links"), ("policy", "identifier_kinds"), *(("ledger", table) for table in LEDGER_TABLES)]
    for schema, table in tables:
        columns = ", ".join(f"{name} {kind}" for name, kind in DECLARED[schema][table].items())
        con.execute(f"CREATE TABLE {schema}.{table} ({columns})")
    con.execute("CREATE TABLE lake.web (controller TEXT, subject_token TEXT, subject_kind TEXT, subject_issuer TEXT)")
    con.executemany(
        "INSERT INTO policy.identifier_kinds BY NAME SELECT ? AS kind, ? AS is_strong, ? AS is_anchor, "
        "? AS max_links, ? AS reissued_after_days",
        [(kind, *rules) for kind, rules in KINDS.items()],
    )
    return con


def record(
    con: duckdb.DuckDBPyConnection, links: Sequence[Link], also: Sequence[str] = (), erased: Sequence[str] = ()
) -> None:
    """Replaces what is on record: links, identifiers that appear `also`, and those `erased` two days before T."""
    for table in ("identity.links", "lake.web", "ledger.statuses"):
        con.execute(f"DELETE FROM {table}")
    _insert(con, "identity.links", [_row(link) for link in links])
    _insert(con, "lake.web", [["shop", name, kind_of(name), "i"] for name in also])
    at = _days_after(-2)
    _insert(
        con,
        "ledger.statuses",
        [[n, name, kind_of(name), "i", "shop", "erased", "on", at, at] for n, name in enumerate(erased)],
    )


def run(
    con: duckdb.DuckDBPyConnection, links: Sequence[Link], also: Sequence[str] = (), erased: Sequence[str] = ()
) -> Resolved:
    """Resolves what is on record; names stand for tokens, groups for their members."""
    record(con, links, also, erased)
    resolve(con, AS_OF, ["web"])
    return read(con)


def read(con: duckdb.DuckDBPyConnection) -> Resolved:
    """What the two tables say."""
    rows = con.execute(
        "SELECT token, group_id, is_ambiguous, is_whole, group_token, "
        "date_diff('day', ?::TIMESTAMP, held_since) FROM identity.identifiers",
        [_days_after(0)],
    ).fetchall()
    members: dict[int, set[str]] = {}
    for token, group, *_ in rows:
        members.setdefault(group, set()).add(token)
    reach: dict[str, set[frozenset[str]]] = {}
    for token, group in con.execute(
        "SELECT token, r.group_id FROM identity.denial_reach AS r JOIN identity.identifiers USING (identifier_id)"
    ).fetchall():
        reach.setdefault(token, set()).add(frozenset(members[group]))
    return Resolved(
        {row[0]: frozenset(members[row[1]]) for row in rows},
        {row[0] for row in rows if row[2]},
        {row[0] for row in rows if row[3]},
        reach,
        {row[0]: row[5] for row in rows if row[5] is not None},
        {row[0]: row[4] for row in rows},
    )


def _days_after(days: int) -> datetime:
    return (AS_OF + timedelta(days=days)).replace(tzinfo=None)


def _row(link: Link) -> list[Any]:
    at = _days_after(link.days)
    ends = [link.a, kind_of(link.a), "i", link.b, kind_of(link.b), "i"]
    return [link.controller, *ends, "login", at, at, link.is_unlink]


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: list[list[Any]]) -> None:
    if rows:
        one = f"({', '.join('?' * len(rows[0]))})"
        con.execute(
            f"INSERT INTO {table} VALUES {', '.join([one] * len(rows))}", [cell for row in rows for cell in row]
        )
