"""Who is considered for a segment, computed from circumstances, is what one gets touchpoint by touchpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from tests.integration.conftest import Decided

IN_LOOKBACK = """
    from intermediate.int_touchpoints_masked as t
    inner join policy.segments as g
        on t.controller = g.controller
        and t.occurred_at >= (select as_of from meta.builds) - to_days(g.lookback_days::integer)
"""
CONSIDERED = f"""
    with seen as (
        select
            g.segment, g.purpose, t.person_key,
            case
                when d.reason is null and t.category = 'sensitive' and not g.reads_sensitive then 'category_not_allowed'
                else d.reason
            end as reason
        {IN_LOOKBACK}
        inner join intermediate.int_decisions as d on t.touchpoint_key = d.touchpoint_key and g.purpose = d.purpose
        where t.person_key is not null
    )
    select
        segment, purpose, person_key, max_by(s.reason, r.reason_order) as reason,
        bool_or(s.reason is null) as is_permitted,
        bool_or(s.reason not in ('unknown_source', 'unknown_purpose', 'category_not_allowed')) as is_hidden
    from seen as s left join policy.reasons as r on s.reason = r.reason
    group by all
"""
SUBJECTS = f"""
    select
        g.segment, count(distinct coalesce(t.person_key, t.identifier_id::varchar)) as everybody,
        count(distinct t.person_key) as known
    {IN_LOOKBACK}
    group by g.segment
"""
COUNTED = """
    select
        segment, any_value(people) filter (step = 'all') as everybody,
        any_value(people) filter (step = 'known' and reason is null) as known
    from governance.segment_waterfalls
    where step in ('all', 'known')
    group by segment
"""
COLUMNS = "segment, purpose, person_key, reason, is_permitted, is_hidden"


@pytest.fixture
def con(decided: Decided) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(decided.file), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


def test_considered_people_are_those_of_the_touchpoints(con: duckdb.DuckDBPyConnection) -> None:
    counted = con.execute(f"select {COLUMNS} from intermediate.int_segment_people_considered order by all").fetchall()
    assert counted == con.execute(f"select {COLUMNS} from ({CONSIDERED}) order by all").fetchall()
    assert {row[4] for row in counted} == {True, False} <= {row[5] for row in counted}


def test_waterfalls_begin_with_everybody_of_the_touchpoints(con: duckdb.DuckDBPyConnection) -> None:
    counted = con.execute(f"{COUNTED} order by all").fetchall()
    assert counted == con.execute(f"{SUBJECTS} order by all").fetchall()
    assert any(everybody > known > 0 for _, everybody, known in counted)


def test_keys_are_those_of_the_people_considered(con: duckdb.DuckDBPyConnection) -> None:
    pairs = "select {} person_key, purpose from intermediate.{} order by all"
    keyed = con.execute(pairs.format("", "int_audience_keys")).fetchall()
    assert keyed == con.execute(pairs.format("distinct", "int_segment_people_considered")).fetchall()


def test_no_model_joins_by_comparing_every_pair(con: duckdb.DuckDBPyConnection, decided: Decided) -> None:
    """A loop over every pair is for a handful of rows of policy, never for an equality of two columns of the data."""
    models = [n for n in decided.manifest["nodes"].values() if n["resource_type"] == "model"]
    assert [model["name"] for model in models if _loops(con, model["compiled_code"])] == []
    assert _loops(
        con, "select * from identity.identifiers as i left join identity.denial_reach as r "
        "on i.group_id = r.group_id and not i.is_ambiguous",
    )  # fmt: skip


def _loops(con: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The conditions with an equality of columns that DuckDB would try on every pair of rows: a hash join missed."""
    (plan,) = json.loads(con.execute(f"explain (format json) {sql}").fetchall()[0][1])
    joins = [node for node in _nodes(plan) if node["name"] == "BLOCKWISE_NL_JOIN"]
    loops = [str(join["extra_info"]) for join in joins if not any(_is_of_policy(side) for side in join["children"])]
    # one branch of a CASE can be no hash join: it matches prefixes of policy's few values
    return [condition for condition in loops if re.search(r"(?<!ELSE )\([a-z]\w* = [a-z]\w*\)", condition)]


def _is_of_policy(plan: dict[str, Any]) -> bool:
    """Does this side of a join read nothing but policy's few rows?"""
    tables = [str(node["extra_info"]["Table"]) for node in _nodes(plan) if "Table" in node["extra_info"]]
    return bool(tables) and all(".policy." in table.replace('"', "") for table in tables)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan["children"]:
        yield from _nodes(child)
