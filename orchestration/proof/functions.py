"""Which SQL functions the proof knows: what a scalar or an aggregate returns depends on its arguments alone.

DuckDB's own catalogue says which functions there are; a name that it does not list is unknown, and unknown fails. Not
here: functions that return tables, which only `blocks.py` may read."""

from __future__ import annotations

from functools import cache

import duckdb
from sqlglot import exp

# Scalars whose result is not of their arguments: the environment, other tables by name, state of the session.
_IMPURE = frozenset(
    {
        *("current_setting", "getenv", "getvariable", "nextval", "currval", "query", "query_table", "read_text"),
        *("read_blob", "sql_auto_complete", "error", "write_log", "duckdb_secrets", "which_secret", "in_search_path"),
        *("current_query", "current_schemas", "current_database", "current_schema", "txid_current", "pg_typeof"),
        # as sqlglot keys them
        *("columns", "readcsv", "readparquet", "currentuser", "sessionuser", "currentschema", "currentcatalog"),
    }
)
_COUNTS = (exp.Count, exp.CountIf)


@cache
def _kinds() -> dict[str, frozenset[str]]:
    con = duckdb.connect()
    try:
        rows = con.execute(
            "select function_name, list(distinct function_type) from duckdb_functions() group by 1"
        ).fetchall()
    finally:
        con.close()
    return {name.lower(): frozenset(kinds) for name, kinds in rows}


def is_aggregate(node: exp.Expr) -> bool:
    if isinstance(node, exp.AggFunc):
        return True
    return isinstance(node, exp.Anonymous) and "aggregate" in _kinds().get(node.name.lower(), ())


def is_count(node: exp.Expr) -> bool:
    return isinstance(node, _COUNTS)


def is_sum(node: exp.Expr) -> bool:
    return isinstance(node, exp.Sum)


def is_known(node: exp.Expr) -> bool:
    """A scalar or aggregate whose result is a function of its arguments."""
    if isinstance(node, exp.Anonymous):
        name = node.name.lower()
        return name not in _IMPURE and bool(_kinds().get(name, frozenset()) & {"scalar", "aggregate", "macro"})
    return isinstance(node, exp.Func) and node.key not in _IMPURE
