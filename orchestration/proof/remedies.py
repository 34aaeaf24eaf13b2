"""How to write what the proof cannot read, by construct: what dbt users have in their projects, and what says the same.

Not here: which constructs those are; whatever has no rule in `blocks.py` and `expressions.py` is unresolved."""

from __future__ import annotations

NAME_COLUMNS = "Name the columns, one by one"
JOINS = "Write an inner, left or semi join"
_AS_UNION = "Write a UNION ALL of one SELECT with GROUP BY for each of its sets"
_LIST = "Unnest the list in a CTE and filter its rows"
_KNOWN: dict[str, str] = {
    "pivot": "Write an aggregate with FILTER (WHERE …) for each value, and GROUP BY",
    "unpivot": "Write a UNION ALL of one SELECT for each column",
    "groupingsets": _AS_UNION,
    "rollup": _AS_UNION,
    "cube": _AS_UNION,
    "comprehension": _LIST,
    "lambda": _LIST,
    "any": "Write it with EXISTS, IN, a join or list_contains()",
    "tablesample": "Leave the sample out: which rows it takes cannot be told",
    "columns": NAME_COLUMNS,
    "asof": "Write a left join on the range of time, and keep one row by row_number()",
    "natural": "Write ON with the columns of both tables",
    "positional": "Join on a key: the order of rows is no reason to join them",
    "summarize": "Write the aggregates that you need",
    "command": "Write one SELECT; what else is to happen belongs into a hook, which nothing that is shown may need",
}
_CATALOGUES = ("information_schema", "pg_catalog", "duckdb_")
_READERS = ("read_", "parquet_scan", "csv_scan", "sniff_csv", "glob")


def remedy(construct: str, otherwise: str) -> str:
    """What to write instead of a construct, by sqlglot's name of it."""
    return _KNOWN.get(construct, otherwise)


def of_table(function: str, table: str) -> str:
    """What to write instead of reading a table function, or a table that is no model and no source."""
    name = (function or table).lower()
    if name.startswith(_READERS) or name.endswith("_scan") or (not function and "/" in name):
        return "Declare the file or database as a source of dbt, with its columns, and read it by source()"
    if name.startswith(_CATALOGUES):
        return "Leave it out: what the catalogue says of other tables cannot be followed"
    if function:
        return "Make its rows a seed or a source, and read that by ref() or source()"
    return "Read it by ref() or source(); declare it first"
