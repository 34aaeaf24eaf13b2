"""Constructs of dbt projects that nobody here wrote (`python -m tests.foreign`), in SQL of our own: what is followed to
the right columns, and what is not is told once, with a way to write it that is followed."""

from __future__ import annotations

import pytest

from orchestration.proof.flow import Flow, flows
from orchestration.proof.project import Project, Relation

ORDERS = Relation(
    "raw.orders", "source", "raw", columns=("id", "customer_id", "amount", "status", "created_at", "payload", "tags")
)
CUSTOMERS = Relation("raw.customers", "source", "raw", columns=("id", "name", "email", "valid_from", "valid_to"))


def follow(sql: str) -> Flow:
    model = Relation("marts.x", "model", "marts", sql=sql, reads=(ORDERS.name, CUSTOMERS.name))
    return flows(Project((ORDERS, CUSTOMERS, model)))["marts.x"]


def direct(flow: Flow) -> dict[str, set[str]]:
    """Output column → the columns that its value is of, by their short names."""
    found: dict[str, set[str]] = {name: set() for name in flow.columns}
    for edge in flow.edges:
        if edge.is_direct:
            found[edge.target.name].add(f"{edge.source.relation.partition('.')[2]}.{edge.source.name}")
    return found


FOLLOWED = {
    "latest row by qualify": (
        "select id, status from raw.orders qualify row_number() over (partition by customer_id order by id) = 1",
        {"id": {"orders.id"}, "status": {"orders.status"}},
    ),
    "import CTEs and a final star": (
        "with o as (select * from raw.orders), c as (select * from raw.customers), "
        "final as (select o.id, c.email from o left join c on o.customer_id = c.id) select * from final",
        {"id": {"orders.id"}, "email": {"customers.email"}},
    ),
    "star with EXCLUDE, REPLACE and RENAME": (
        "select * exclude (id, customer_id, amount, created_at, payload) replace (upper(status) as status) "
        "rename (tags as labels) from raw.orders",
        {"status": {"orders.status"}, "labels": {"orders.tags"}},
    ),
    "a column by its alias beside it": (
        "select amount * 2 as twice, twice + 1 as more from raw.orders",
        {"twice": {"orders.amount"}, "more": {"orders.amount"}},
    ),
    "group by place, all and alias": (
        "select customer_id, sum(amount) as total from raw.orders group by 1 having total > 3 order by all",
        {"customer_id": {"orders.customer_id"}, "total": {"orders.amount"}},
    ),
    "correlated and lateral subqueries": (
        "select (select max(c.name) from raw.customers as c where c.id = o.customer_id) as a, x.b "
        "from raw.orders as o, lateral (select c.email as b from raw.customers as c where c.id = o.customer_id) as x",
        {"a": {"customers.name"}, "b": {"customers.email"}},
    ),
    "a list in rows": (
        "select o.id, t.tag from raw.orders as o, unnest(o.tags) as t (tag)",
        {"id": {"orders.id"}, "tag": {"orders.tags"}},
    ),
    "rows of a range": ("select range as n from range(10)", {"n": set()}),
    "days of a calendar": (
        "select cast(generate_series as date) as d "
        "from generate_series(date '2020-01-01', date '2021-01-01', interval 1 day)",
        {"d": set()},
    ),
    "values in FROM": ("select t.b from (values (1, 'a'), (2, 'b')) as t (a, b)", {"b": set()}),
    "a field of JSON": ("select payload ->> '$.a' as a from raw.orders", {"a": {"orders.payload"}}),
    "a struct, and a field of it": (
        "select s.a from (select {'a': amount, 'b': status} as s from raw.orders)",
        {"a": {"orders.amount"}},
    ),
    "join USING": (
        "select id, name, status from raw.orders full outer join raw.customers using (id)",
        {"id": {"orders.id", "customers.id"}, "name": {"customers.name"}, "status": {"orders.status"}},
    ),
    "union by name": (
        "select id, status from raw.orders union all by name select name as status, id from raw.customers",
        {"id": {"orders.id", "customers.id"}, "status": {"orders.status", "customers.name"}},
    ),
    "a sum in a moving window": (
        "select sum(amount) over (w rows 6 preceding) as week from raw.orders window w as (order by id)",
        {"week": {"orders.amount"}},
    ),
    "FROM first": ("from raw.orders select id", {"id": {"orders.id"}}),
}
READ_A_FILE = "Declare the file or database as a source"
NOT_FOLLOWED = {
    "with recursive t as (select id from raw.orders union all select id from t) select * from t": "steps as models",
    "select c.name from raw.orders as o asof join raw.customers as c on o.created_at >= c.valid_from": "row_number()",
    "select * from raw.orders natural join raw.customers": "Write ON",
    "select name from raw.orders positional join raw.customers": "Join on a key",
    "pivot raw.orders on status using sum(amount) group by customer_id": "FILTER (WHERE",
    "select * from raw.orders pivot (sum(amount) for status in ('a', 'b') group by customer_id)": "FILTER (WHERE",
    "unpivot raw.orders on amount into name k value v": "UNION ALL of one SELECT for each column",
    "select * from raw.orders unpivot (v for k in (amount))": "UNION ALL of one SELECT for each column",
    "select customer_id, sum(amount) as a from raw.orders group by rollup (customer_id)": "UNION ALL",
    "select customer_id, sum(amount) as a from raw.orders group by grouping sets ((customer_id), ())": "UNION ALL",
    "select [x for x in tags if x <> 'a'] as tags from raw.orders": "Unnest the list",
    "select list_filter(tags, lambda x: x <> 'a') as tags from raw.orders": "Unnest the list",
    "select id from raw.orders using sample 10%": "Leave the sample out",
    "select min(columns(*)) from raw.orders": "Name the columns",
    "select to_json(o) as j from raw.orders as o": "name those that you need",
    "select * from read_parquet('lake/*.parquet')": READ_A_FILE,
    "select id from 'data/orders.csv'": READ_A_FILE,
    "select id from sqlite_scan('a.db', 't')": READ_A_FILE,
    "select table_name from information_schema.tables": "Leave it out",
    "select a from query('select 1 as a')": "a seed or a source",
    "select id from other.orders": "ref() or source()",
    "select our_udf(amount) as a from raw.orders": "write out what it does",
    "select current_setting('x') as a from raw.orders": "write out what it does",
    "summarize raw.orders": "the aggregates that you need",
    "select 1 as a; select 2 as a": "several are CTEs",
    "select id from raw.orders as o join raw.customers as c on o.customer_id = c.id": "alias of its table",
    "select nothing from raw.orders": "a column of a table in FROM",
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_construct_is_followed_to_its_columns(name: str) -> None:
    sql, expected = FOLLOWED[name]
    flow = follow(sql)
    assert flow.unresolved == ()
    assert direct(flow) == expected


@pytest.mark.parametrize("sql", NOT_FOLLOWED)
def test_construct_that_is_not_followed_is_told_once_with_a_remedy(sql: str) -> None:
    (found,) = follow(sql).unresolved
    assert NOT_FOLLOWED[sql] in found.remedy, found
    assert found.construct and found.where == "marts.x"


REWRITTEN = {
    "pivot": "select customer_id, sum(amount) filter (where status = 'a') as a from raw.orders group by customer_id",
    "unpivot": "select 'amount' as k, amount as v from raw.orders union all select 'id' as k, id as v from raw.orders",
    "asof": "select o.id, c.name from raw.orders as o left join raw.customers as c on o.created_at >= c.valid_from "
    "qualify row_number() over (partition by o.id order by c.valid_from desc) = 1",
    "rollup": "select customer_id, sum(amount) as a from raw.orders group by customer_id "
    "union all select null as customer_id, sum(amount) as a from raw.orders",
    "comprehension": "with t as (select id, unnest(tags) as tag from raw.orders) "
    "select id, list(tag) as tags from t where tag <> 'a' group by id",
    "row": "select to_json({'id': o.id}) as j from raw.orders as o",
}


@pytest.mark.parametrize("construct", REWRITTEN)
def test_what_a_remedy_says_is_followed(construct: str) -> None:
    assert follow(REWRITTEN[construct]).unresolved == ()
