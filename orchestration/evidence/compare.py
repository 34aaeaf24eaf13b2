"""Compares a generation with its replay, row by row, and says of each row that differs what explains it.

A row of a person is explained where something of that person, or of somebody linked to them, was removed: a
touchpoint, a link or a record. Counts over many people are explained where anything was. Not here: what was removed
(`survey.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestration.evidence.survey import Survey
from orchestration.home import Home
from orchestration.warehouse.content import canonical, content_tables
from orchestration.warehouse.duckdb_settings import connect

Counts = dict[str, int]  # cause → rows
RECORDS = ("consent_events", "permissions", "contracts", "ages", "statuses", "links")

# Touchpoints that are not there any more, or of which something is not: a later minimisation took it.
GONE_TOUCHPOINTS = """
create or replace temp table gone_touchpoints as
select t.identifier_id, coalesce(c.cause, 'unexplained') as cause
from {then}.intermediate.int_touchpoints_masked as t
left join {then}.identity.identifiers as i on t.identifier_id = i.identifier_id
left join {now}.intermediate.int_touchpoints_masked as n on t.touchpoint_key = n.touchpoint_key
left join {now}.identity.identifiers as o on n.identifier_id = o.identifier_id
left join file_causes as c
    on c.source = t.source
    and c.day = cast(timezone((select zone from {then}.policy.settings), timezone('UTC', t.occurred_at)) as date)
where
    n.touchpoint_key is null
    or (i.token, t.event, t.item, t.store, t.account, t.city, t.tier, t.amount, t.birth_month)
    is distinct from (o.token, n.event, n.item, n.store, n.account, n.city, n.tier, n.amount, n.birth_month)
"""
GONE_RECORDS = """
select token, '{cause}' as cause from {then}.ledger.{table} anti join {now}.ledger.{table} as n using (seq)
"""
# Whose input is not what it was: tokens with the cause, the worst where there are several.
SEEDS = """
create or replace temp table seeds as
select i.token, g.cause
from gone_touchpoints as g inner join {then}.identity.identifiers as i on g.identifier_id = i.identifier_id
union
select unnest([token_a, token_b]), '{links}' as cause
from (
    select controller, token_a, token_b, method, effective_at, is_unlink from {then}.identity.links
    except
    select controller, token_a, token_b, method, effective_at, is_unlink from {now}.identity.links
)
union
{records}
"""
TOUCHED = """
create or replace temp table touched as
with reached as (
    select o.token, s.cause
    from seeds as s
    inner join {then}.identity.identifiers as i on s.token = i.token
    inner join {then}.identity.denial_reach as r on i.identifier_id = r.identifier_id
    inner join {then}.identity.identifiers as o on r.group_id = o.group_id
    union
    select token, cause from seeds
)
select token, max_by(cause, case cause when 'unexplained' then 3 when 'erasure' then 2 else 1 end) as cause
from reached group by token
"""
TOUCHED_KEYS = """
create or replace temp table touched_keys as
with people as (
    select r.person_key, t.cause
    from touched as t inner join {then}.intermediate.int_identifiers_resolved as r on t.token = r.token
    union all
    select r.person_key, t.cause
    from touched as t inner join {now}.intermediate.int_identifiers_resolved as r on t.token = r.token
),
keys as (
    select person_key, audience_key from {then}.intermediate.int_audience_keys
    union
    select person_key, audience_key from {now}.intermediate.int_audience_keys
)
select k.audience_key, max_by(p.cause, case p.cause when 'unexplained' then 3 when 'erasure' then 2 else 1 end) as cause
from people as p inner join keys as k on p.person_key = k.person_key
group by k.audience_key
"""


@dataclass(frozen=True)
class TableDifference:
    """Rows of one table by cause: `lost` were there then and are not in the replay, `gained` the other way round."""

    rows_then: int
    rows_now: int
    lost: Counts
    gained: Counts

    @property
    def is_equal(self) -> bool:
        return not self.lost and not self.gained

    @property
    def unexplained(self) -> int:
        return self.lost.get("unexplained", 0) + self.gained.get("unexplained", 0)


def compare(
    home: Home, then: Path, replayed: Path, found: Survey, *, records_cause: str | None
) -> dict[str, TableDifference]:
    """`schema.table` → the difference, for every table that people read of either file.

    `records_cause`: why records of the ledger are not there any more; None where all are."""
    con = connect(home, replayed, read_only=True)
    try:
        con.execute(f"attach '{_quoted(then)}' as {_name(then)} (read_only)")
        names = {"then": _name(then), "now": _name(replayed)}
        _touch(con, names, found, records_cause or "unexplained")
        causes = _all_causes(con, found, records_cause)
        tables = content_tables(con, then.stem) | content_tables(con, replayed.stem)
        return {f"{s}.{t}": _difference(con, names, (s, t), then.stem, replayed.stem, causes) for s, t in tables}
    finally:
        con.close()


def _touch(con: duckdb.DuckDBPyConnection, names: dict[str, str], found: Survey, records_cause: str) -> None:
    con.register("file_causes", _by_day(found.causes("touchpoints")))
    links = _worst([cause for _, _, cause in found.causes("links")]) or records_cause
    records = [
        GONE_RECORDS.format(**names, table=table, cause=records_cause).replace("select token,", _subject(table))
        for table in RECORDS
    ]
    con.execute(GONE_TOUCHPOINTS.format(**names))
    con.execute(SEEDS.format(**names, links=links, records="union\n".join(records)))
    con.execute(TOUCHED.format(**names))
    con.execute(TOUCHED_KEYS.format(**names))


def _subject(table: str) -> str:
    return "select unnest([token_a, token_b])," if table == "links" else "select token,"


def _by_day(causes: Sequence[tuple[str | None, date | None, str]]) -> pa.Table:
    """One cause for each source and day, the worst."""
    days: dict[tuple[str | None, date | None], list[str]] = {}
    for source, day, cause in causes:
        days.setdefault((source, day), []).append(cause)
    rows = [(source, day, _worst(found)) for (source, day), found in days.items()]
    return pa.table(
        {
            "source": pa.array([row[0] for row in rows], pa.string()),
            "day": pa.array([row[1] for row in rows], pa.date32()),
            "cause": pa.array([row[2] for row in rows], pa.string()),
        }
    )


def _worst(causes: Sequence[str]) -> str | None:
    return next((cause for cause in ("unexplained", "erasure", "retention") if cause in causes), None)


def _all_causes(con: duckdb.DuckDBPyConnection, found: Survey, records_cause: str | None) -> str:
    """What explains a count over many people: every cause there is; nothing, where nothing was removed."""
    causes = {str(file.cause) for file in found.missing} | ({records_cause} if records_cause else set())
    causes |= {str(cause) for (cause,) in con.execute("select distinct cause from touched").fetchall()}
    return "unexplained" if not causes or "unexplained" in causes else " + ".join(sorted(causes))


def _difference(
    con: duckdb.DuckDBPyConnection,
    names: dict[str, str],
    table: tuple[str, str],
    then: str,
    now: str,
    causes: str,
) -> TableDifference:
    fields = [content_tables(con, catalog).get(table) for catalog in (then, now)]
    if fields[0] is None or fields[1] is None or fields[0] != fields[1]:
        there = [_count(con, names[which], table) if f else 0 for which, f in zip(("then", "now"), fields, strict=True)]
        return TableDifference(there[0], there[1], *({"unexplained": number} if number else {} for number in there))
    cells = ", ".join(f'{canonical(name, kind)} as "{name}"' for name, kind in fields[0])
    selects = [f'select {cells} from {names[which]}.{table[0]}."{table[1]}"' for which in ("then", "now")]
    is_personal = any(name == "audience_key" for name, _ in fields[0])
    return TableDifference(
        _count(con, names["then"], table),
        _count(con, names["now"], table),
        _caused(con, f"{selects[0]} except all {selects[1]}", is_personal, causes),
        _caused(con, f"{selects[1]} except all {selects[0]}", is_personal, causes),
    )


def _count(con: duckdb.DuckDBPyConnection, catalog: str, table: tuple[str, str]) -> int:
    found = con.execute(f'select count(*) from {catalog}.{table[0]}."{table[1]}"').fetchone()
    return int(found[0]) if found else 0


def _caused(con: duckdb.DuckDBPyConnection, rows: str, is_personal: bool, causes: str) -> Counts:
    if is_personal:
        sql = f"""
            select coalesce(k.cause, 'unexplained'), count(*)
            from ({rows}) as d left join touched_keys as k on d.audience_key = k.audience_key
            group by all order by all"""
    else:
        sql = f"select '{causes}', count(*) from ({rows}) having count(*) > 0"
    return {str(cause): int(number) for cause, number in con.execute(sql).fetchall()}


def _name(file: Path) -> str:
    return f'"{file.stem}"'


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
