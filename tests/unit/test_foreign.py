"""The reader of foreign dbt projects (`python -m tests.foreign`) on a small one of the usual shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.foreign.__main__ import as_project, read_foreign
from tests.foreign.render import render_project

PROJECT = {
    "dbt_project.yml": "name: bakery\nvars:\n  orders: \"{{ ref('stg_bakery__order') }}\"\n",
    "macros/cents.sql": "{% macro money(column) %}({{ column }} / 100)::decimal(16, 2){% endmacro %}",
    "macros/columns.sql": "{% macro wanted() %}{{ return([{'name': 'id', 'type': dbt.type_string()}]) }}{% endmacro %}",
    "models/sources.yml": "sources: [{name: till, tables: [{name: baskets, columns: [{name: id}]}]}]",
    "models/stg_baskets.sql": "with source as (select * from {{ source('till', 'baskets') }}), renamed as (\n"
    "select id as basket_id, {{ money('total') }} as total, {{ dbt.date_trunc('day', 'sold_at') }} as day from source\n"
    ") select * from renamed",
    "models/src_bakers.sql": "{{ config(materialized='view') }} select * from {{ source('till', 'bakers') }}",
    "models/dim_bakers.sql": "select {{ dbt_utils.generate_surrogate_key(['name', 'born_on']) }} as key, name\n"
    "from {{ ref('src_bakers') }}",
    "models/orders.sql": "with orders as (select * from {{ var('orders') }}),\n"
    "b as (select * from {{ ref('stg_baskets') }})\n"
    "select o.order_id, b.total, placed_at {% for c in wanted() %}, o.{{ c.name }}{% endfor %}\n"
    "from orders as o left join b using (basket_id) {{ 'where false' if is_incremental() }}",
    "models/strange.sql": "select * from read_csv('baskets.csv')",
    "models/of_a_package.sql": "{{ elementary.fill_alerts() }}",
    "models/broken.sql": "{{ undefined_thing.method() }}",
}


@pytest.fixture
def bakery(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_project_is_rendered_without_dbt(bakery: Path) -> None:
    rendered = render_project(bakery)
    assert "(total / 100)::decimal" in rendered.sql["stg_baskets"] and "date_trunc('day'" in rendered.sql["stg_baskets"]
    assert "models.stg_bakery__order" in rendered.sql["orders"] and "o.id" in rendered.sql["orders"]
    assert rendered.failed == {"broken": "UndefinedError", "of_a_package": "written by a macro of a package"}


def test_columns_of_undeclared_tables_are_those_that_queries_name(bakery: Path) -> None:
    project = as_project(render_project(bakery), frozenset())
    assert set(project["till.baskets"].columns) == {"id", "total", "sold_at"}
    assert set(project["till.bakers"].columns) == {"name", "born_on"}  # through a model that hands every column on
    assert {"order_id", "id"} <= set(project["models.stg_bakery__order"].columns)


def test_share_that_resolves_is_told_with_what_does_not(bakery: Path) -> None:
    found = read_foreign(bakery)
    assert (found.resolved, found.models) == (4, 5)
    ((model, (unresolved,)),) = found.unresolved.items()
    assert model == "models.strange" and "as a source of dbt" in unresolved.remedy
