"""Policy's sensitive values as the models match them: a touchpoint meets one at most, whatever the policy repeats."""

from __future__ import annotations

import duckdb

from tests.integration.conftest import Decided

LISTED = [
    ("item", "med-", True),
    ("item", "med-", True),  # twice
    ("item", "med-laser", True),  # covered by the first
    ("item", "med-", False),
    ("item", "filler", False),
    ("store", "med-laser", True),  # of another field
]


def test_sensitive_values_never_match_twice(decided: Decided) -> None:
    node = decided.manifest["nodes"]["model.assent.int_sensitive_values"]
    with duckdb.connect() as con:
        con.execute(f"attach ':memory:' as \"{node['database']}\"")
        con.execute(f'create schema "{node["database"]}".policy')
        table = f'"{node["database"]}".policy.sensitive_values'
        con.execute(f"create table {table} (field varchar, value_prefix varchar, is_prefix boolean)")
        con.executemany(f"insert into {table} values (?, ?, ?)", LISTED)
        kept = con.execute(f"{node['compiled_code']} order by all").fetchall()
    assert kept == [("item", "filler", False), ("item", "med-", True), ("store", "med-laser", True)]
