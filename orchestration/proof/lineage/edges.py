"""An edge of lineage: one column of which another is made, or which decides on it, and how. Names only, no values.

Not here: what is read from SQL (`proof/flow.py`), and the steps that no SQL takes (`origins.py`)."""

from __future__ import annotations

from typing import Literal, NamedTuple

ROWS = "*"  # as the name of a column: which rows a relation has

Direct = Literal["copy", "compute", "aggregate", "keep", "token", "bucket", "truncate_day", "encrypt", "decrypt"]
Indirect = Literal["filter", "join", "group", "window", "sort", "conditional", "exists", "rows"]
How = Direct | Indirect
# What leaves no value to read: a keyed token, or a count, sum or the like of many people.
MASKING: frozenset[str] = frozenset({"token", "encrypt"})


class Column(NamedTuple):
    """A column of a relation `schema.table`, or which rows that has."""

    relation: str
    name: str

    def __str__(self) -> str:
        return f"{self.relation}.{self.name}"


class Edge(NamedTuple):
    """`target` is made of `source` (direct), or decided by it (indirect)."""

    source: Column
    target: Column
    how: How
    is_direct: bool


def direct(source: Column, target: Column, how: Direct) -> Edge:
    return Edge(source, target, how, True)


def indirect(source: Column, target: Column, how: Indirect) -> Edge:
    return Edge(source, target, how, False)
