"""The world that twins are made of: some people of what is staged for a build, with everything staged about them.

A person's identifiers come with all that any link on record leads to. The company's side of the world is made whole:
feeds are fresh and every day is complete, so that what is about people alone decides. Not here: people who are invented
(`cast.py`)."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from orchestration.errors import AssentError
from orchestration.identity.graph import components
from orchestration.ingestion.quoting import text
from orchestration.policy.schema import Policy
from orchestration.proof.twins.world import DERIVED, World, columns_of, quoted
from orchestration.warehouse.relations import relations

NODES = ("token", "token_a", "token_b", "subject_token")  # columns that name an identifier
COMPANY = ("lake.completeness", "ledger.feeds")  # the company's, not a person's
STEPS = 8  # along links; what is farther is another sample's, and links to it are left out
MOST_TOUCHPOINTS = 200  # of an identifier in a sample: one that never rests would be all of it
COMPLETE_DAYS = 1100
SMALL = 5  # no segment of a sample asks for more people than this, or nothing of it would leave
_ATTACHED = "staged"
Staged = Path | duckdb.DuckDBPyConnection  # a build's file, or what is staged in memory


class InputsGoneError(AssentError):
    """The build file does not hold what its models read: rows that it names were deleted since, or it is no build."""


def staged_tables(policy: Policy) -> list[str]:
    """Every table that a build holds before dbt starts."""
    return sorted(f"{schema}.{table}" for schema, tables in relations(policy).items() for table in tables)


def personal_tables(policy: Policy) -> list[str]:
    """Those with rows about people, but for what is derived from them."""
    kept = (*DERIVED, *COMPANY, "identity.purpose_keys")
    return [t for t in staged_tables(policy) if not t.startswith(("meta.", "policy.")) and t not in kept]


def name_of(staged: Staged) -> str:
    """For messages."""
    return staged.name if isinstance(staged, Path) else "what is staged"


def copy_staged(world: World, staged: Staged, policy: Policy, *, seed: int, people: int | None) -> None:
    """Fills `world` from a build's file, or from the memory that it shares: about `people` people, or everybody. Raises
    InputsGoneError."""
    con, gone, source = world.con, False, "memory"
    con.execute("set enable_external_file_cache = false")  # each file is read once
    if isinstance(staged, Path):
        con.execute(f'attach {text(staged)} as "{_ATTACHED}" (read_only)')
        source = _ATTACHED
    try:
        _choose(con, source, policy, seed, people)
        for table in staged_tables(policy):
            if table not in DERIVED:
                world.write(table, _rows(con, source, table, table in personal_tables(policy) and people is not None))
    except duckdb.Error:
        gone = True
    _leave(con, source, policy)
    if gone:
        raise InputsGoneError(
            "what its models read is not there any more",
            where=name_of(staged),
            remedy="Rows were deleted since, as they should be. Prove a build that is staged now",
        )
    con.execute("set enable_external_access = false")  # from here on a model reads tables of its world, or fails
    _make_whole(world, policy)


def _leave(con: duckdb.DuckDBPyConnection, source: str, policy: Policy) -> None:
    """What is staged is gone: whatever database a model names, it reads a world or fails."""
    if source == _ATTACHED:
        con.execute(f'detach "{_ATTACHED}"')
        return
    for schema in sorted({table.partition(".")[0] for table in staged_tables(policy)}):
        con.execute(f'drop schema if exists "{source}"."{schema}" cascade')


def _choose(con: duckdb.DuckDBPyConnection, source: str, policy: Policy, seed: int, people: int | None) -> None:
    """The tokens of the sample: half of them of people who once agreed to something, half of anybody."""
    if people is None:
        return
    told = f"select distinct token from {quoted(source, 'ledger.consent_events')}"
    seen = " union ".join(
        f"select distinct subject_token as token from {quoted(source, f'lake.{place.name}')}"
        for place in policy.sources.sources
    )
    con.execute(
        "create or replace temp table twin_chosen as "
        + " union ".join(
            f"(select token from ({query}) where token is not null order by hash(token || $seed), token limit $some)"
            for query in (told, f"{told} union {seen}")
        ),
        {"seed": str(seed), "some": people // 2},
    )
    links = quoted(source, "identity.links")
    for _ in range(STEPS):
        more = con.execute(f"""
            insert into twin_chosen
            select distinct token from (
                select l.token_b as token from {links} as l inner join twin_chosen as c on l.token_a = c.token
                union select l.token_a from {links} as l inner join twin_chosen as c on l.token_b = c.token
            ) where token is not null and token not in (select token from twin_chosen)
        """).fetchone()
        if more == (0,):
            break


def _rows(con: duckdb.DuckDBPyConnection, source: str, table: str, is_sampled: bool) -> str:
    columns = columns_of(con, quoted(source, table))
    values = ", ".join(_value(name, kind) for name, kind in columns.items())
    query = f"select {values} from {quoted(source, table)}"
    nodes = [name for name in NODES if name in columns]
    if not is_sampled or not nodes:
        return query
    query += " where " + " and ".join(f"{node} in (select token from twin_chosen)" for node in nodes)
    if table.startswith("lake."):
        newest = "row_number() over (partition by subject_token order by occurred_at desc, touchpoint_key)"
        query += f" qualify {newest} <= {MOST_TOUCHPOINTS}"
    return f"{query} order by all"  # a row's number throws its dice


def _value(name: str, kind: str) -> str:
    """Numbers in quarters: their sums are exact, whatever the order in which they are added."""
    return f'round("{name}" * 4) / 4 as "{name}"' if kind in ("DOUBLE", "FLOAT") else f'"{name}"'


def _make_whole(world: World, policy: Policy) -> None:
    con = world.con
    world.use()
    con.execute(f"update policy.segments set minimum_size = least(minimum_size, {SMALL})")
    con.execute("update ledger.feeds set is_incomplete = false, last_seen_at = (select as_of from meta.builds)")
    con.execute(
        "create or replace table lake.completeness as "
        "select s.source, (b.as_of + to_days(2 - d.days::integer))::date as "
        "day from policy.sources as s, meta.builds as b, "
        f"range({COMPLETE_DAYS}) as d (days) order by all"
    )


def label_people(con: duckdb.DuckDBPyConnection, world: World, policy: Policy) -> None:
    """Makes `twin_people` (token → a number for all that any link on record ever joined it to) and `twin_identifiers`
    (every identifier that anything names). Controllers are not told apart: who is one of these is nobody else."""
    named = []
    for table in personal_tables(policy):
        columns = world.columns(table)
        for node in (name for name in NODES if name in columns):
            end = node.removeprefix("subject_").removeprefix("token")
            prefix = "subject_" if node.startswith("subject_") else ""
            controller = "controller" if "controller" in columns else "null"
            kind, issuer = (
                f"{prefix}{name}{end}" if f"{prefix}{name}{end}" in columns else "null" for name in ("kind", "issuer")
            )
            named.append(
                f"select {controller} as controller, {node} as token, {kind} as kind, {issuer} as issuer "
                f"from {quoted(world.name, table)}"
            )
    con.execute(f"""
        create or replace table twin_identifiers as
        select controller, token, min(kind) as kind, min(issuer) as issuer from ({" union all ".join(named)})
        where token is not null group by controller, token order by all
    """)
    con.execute(
        "create or replace table twin_nodes as "
        "select token, row_number() over (order by token) - 1 as node from "
        "(select distinct token from twin_identifiers)"
    )
    links = con.execute(
        f"select a.node as a, b.node as b from {quoted(world.name, 'identity.links')} as l "
        "inner join twin_nodes as a on l.token_a = a.token inner join twin_nodes as b on l.token_b = b.token"
    ).fetchnumpy()
    ends = np.stack([np.asarray(column, dtype=np.int64) for column in links.values()])
    count = int(con.execute("select count(*) from twin_nodes").fetchall()[0][0])
    labels = components(count, ends)
    con.register("twin_labels", pa.table({"node": np.arange(count), "person": labels}))
    con.execute(
        "create or replace table twin_people as "
        "select n.token, l.person from twin_nodes as n inner join twin_labels as l on n.node = l.node order by n.token"
    )
    con.unregister("twin_labels")
