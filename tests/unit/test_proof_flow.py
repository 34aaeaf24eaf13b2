"""Which columns a query's columns come from: by value, and by what chooses rows and values."""

from __future__ import annotations

import pytest
from sqlglot import exp

from orchestration.proof.flow import Column, Flow, flow_of
from orchestration.proof.project import Project, Relation
from orchestration.proof.rules import RULES

PEOPLE = Relation("lake.people", "source", "lake", columns=("id", "city", "age"))
ORDERS = Relation("lake.orders", "source", "lake", columns=("id", "person", "amount", "item"))


def flow(sql: str, *, reads: tuple[str, ...] = ("lake.people", "lake.orders")) -> Flow:
    model = Relation("marts.m", "model", "marts", sql=sql, reads=reads)
    return flow_of(model, Project((PEOPLE, ORDERS, model)))


def into(found: Flow, column: str) -> set[tuple[str, str]]:
    """`relation.column` and how, of the edges into one column."""
    return {(".".join(e.source), e.how) for e in found.edges if e.target == Column("marts.m", column)}


def rows(found: Flow) -> set[tuple[str, str]]:
    return {(".".join(column), how) for column, how in found.rows}


@pytest.mark.parametrize(
    ("expression", "edges"),
    [
        ("p.city", {("lake.people.city", "copy")}),
        ("upper(p.city) || o.item", {("lake.people.city", "compute"), ("lake.orders.item", "compute")}),
        ("max(o.amount)", {("lake.orders.amount", "aggregate")}),
        ("count(*)", set()),
        ("count(*) filter (where o.item = 'a')", {("lake.orders.item", "filter")}),
        ("case when p.age > 30 then p.city end", {("lake.people.age", "conditional"), ("lake.people.city", "compute")}),
        ("{'a': p.city, 'b': o.item}", {("lake.people.city", "compute"), ("lake.orders.item", "compute")}),
        ("(select max(i.amount) from lake.orders as i where i.person = p.id)",
         {("lake.orders.amount", "aggregate"), ("lake.orders.person", "exists"), ("lake.people.id", "exists")}),
        ("sum(o.amount) over (partition by p.city order by o.id)",
         {("lake.orders.amount", "aggregate"), ("lake.people.city", "window"), ("lake.orders.id", "window")}),
    ],
)  # fmt: skip
def test_flow_tells_how_each_source_column_reaches_a_column(expression: str, edges: set[tuple[str, str]]) -> None:
    sql = f"select {expression} as x from lake.people as p inner join lake.orders as o on p.id = o.person"
    assert into(flow(sql), "x") == edges


def test_flow_follows_ctes_stars_and_aliases() -> None:
    found = flow("""
        with a as (select * exclude (age), age + 1 as older from lake.people), b as (select a.* from a)
        select id as who, older from b
    """)
    assert found.columns == ("who", "older")
    assert into(found, "who") == {("lake.people.id", "copy")}
    assert into(found, "older") == {("lake.people.age", "compute")}


def test_flow_of_an_alias_used_beside_it_is_that_of_what_it_stands_for() -> None:
    found = flow("select max(age) as oldest, oldest + 1 as next from lake.people having oldest > 3")
    assert into(found, "next") == {("lake.people.age", "aggregate")}
    assert ("lake.people.age", "filter") in rows(found)


@pytest.mark.parametrize(
    ("clause", "told"),
    [
        ("where p.age > 3", ("lake.people.age", "filter")),
        ("inner join lake.orders as o on p.id = o.person", ("lake.orders.person", "join")),
        ("left join lake.orders as o on p.id = o.person", ("lake.orders.person", "join")),
        ("semi join lake.orders as o on p.id = o.person", ("lake.orders.person", "exists")),
        ("where p.id in (select o.person from lake.orders as o where o.item = 'a')", ("lake.orders.item", "exists")),
        ("where not exists (select 1 from lake.orders as o where o.person = p.id)", ("lake.orders.person", "exists")),
        ("qualify row_number() over (partition by p.city order by p.age) = 1", ("lake.people.age", "window")),
        ("order by p.age limit 3", ("lake.people.age", "sort")),
    ],
)
def test_flow_tells_what_chooses_the_rows(clause: str, told: tuple[str, str]) -> None:
    assert told in rows(flow(f"select p.city from lake.people as p {clause}"))


def test_flow_tells_how_each_table_is_read() -> None:
    found = flow("""
        select p.id from lake.people as p left join lake.orders as o on p.id = o.person and o.amount > 3
        where p.age > 30
    """)
    assert [(read.relation, read.join) for read in found.reads] == [("lake.people", "from"), ("lake.orders", "left")]
    assert found.reads[0].predicates == ("p.age > 30",)
    assert found.reads[1].predicates == ("p.id = o.person", "o.amount > 3")


@pytest.mark.parametrize(
    ("sql", "construct"),
    [
        ("select to_json(p) as x from lake.people as p", "`p`"),
        ("select * from lake.nowhere", "no model or source"),
        ("select * from read_parquet('a.parquet')", "no model or source"),
        ("select * from 'a.parquet'", "no model or source"),
        ("select getenv('HOME') as x from lake.people", "getenv()"),
        ("select my_udf(city) as x from lake.people", "my_udf()"),
        ("select columns('c.*') from lake.people", "columns()"),
        ("select missing from lake.people", "`missing`"),
        ("select id from lake.people, lake.orders", "two tables have"),
        ("with recursive a as (select 1 as n union all select n + 1 from a) select n from a", "RECURSIVE"),
        ("select * from lake.people pivot (count(*) for city in ('a'))", "PIVOT"),
        ("select id from lake.people asof join lake.orders as o using (id)", "ASOF"),
        ("select id from lake.people using sample 10", "SAMPLE"),
        ("select list_filter([age], x -> x > 3) as x from lake.people", "lambda"),
        ("drop table lake.people", "one SELECT"),
        ("select 1; select 2", "one SELECT"),
        ("select (", "parsed"),
    ],
)
def test_flow_names_what_it_cannot_resolve(sql: str, construct: str) -> None:
    found = flow(sql).unresolved
    assert any(construct in one.construct for one in found), found
    assert all(one.where == "marts.m" and one.remedy for one in found)


def test_flow_of_a_table_that_no_ref_names_is_unresolved() -> None:
    (found,) = flow("select id from lake.people", reads=()).unresolved
    assert "written as a name" in found.construct


def test_flow_of_sql_that_a_rule_does_not_expect_is_unresolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def surprised(*_: object) -> None:
        raise KeyError("no such part")

    monkeypatch.setitem(RULES, exp.Upper, surprised)
    found = flow("select upper(city) as x from lake.people")
    assert [one.construct for one in found.unresolved] == ["SQL that no rule expects (KeyError)"]
    assert found.columns == ()


def test_flow_of_a_python_model_is_unresolved() -> None:
    model = Relation("marts.m", "model", "marts", language="python")
    assert "python" in flow_of(model, Project((model,))).unresolved[0].construct
