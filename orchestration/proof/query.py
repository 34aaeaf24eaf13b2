"""What the evaluation of one model shares, and the reads of tables that it finds. Not here: the evaluation itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from sqlglot import exp

from orchestration.proof.domain import (
    Counter,
    Rows,
)
from orchestration.proof.remedies import NAME_COLUMNS, remedy
from orchestration.proof.rules import Unresolved


@dataclass(frozen=True)
class Read:
    """One read of a table: how it is joined, and what its rows must meet there, as SQL."""

    relation: str
    alias: str
    join: str  # from, inner, left, right, full, cross, semi, anti
    conditions: tuple[exp.Expr, ...] = field(repr=False)

    @cached_property
    def predicates(self) -> tuple[str, ...]:
        return tuple(condition.sql("duckdb") for condition in self.conditions)


class Reader(Protocol):
    """What reads a query of the model: within a SELECT (`parent`) where it is a subquery."""

    def __call__(self, node: exp.Expr, query: Query, ctes: Mapping[str, Rows], parent: Any = None) -> Rows: ...


@dataclass
class Query:
    """What the evaluation of one model shares: the tables that there are, and what is found on the way.

    `allowed` are the relations that its refs and sources name; `keys` are of those proved or reviewed by themselves."""

    reader: Reader
    relation: str
    tables: Mapping[str, Rows]
    database: str = ""
    allowed: frozenset[str] = frozenset()
    keys: Mapping[str, str] = field(default_factory=dict)
    counter: Counter = field(default_factory=Counter)
    unresolved: list[Unresolved] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)  # CTEs of which nothing is known: said once, not of each column

    def read(self, node: exp.Expr, ctes: Mapping[str, Rows], parent: Any = None) -> Rows:
        return self.reader(node, self, ctes, parent)

    def require_plain(self, node: exp.Expr | None, where: str) -> None:
        """What cuts rows by a number must be a number: a query or a column there would choose among people."""
        if node is not None and node.find(exp.Query, exp.Column) is not None:
            self.missing(f"a query or column in {where}", "Write a number")

    def missing(self, construct: str, remedy: str) -> None:
        found = Unresolved(construct, self.relation, remedy)
        if found not in self.unresolved:
            self.unresolved.append(found)


def named(rows: Rows, alias: exp.Expr | None, query: Query) -> Rows:
    """Rows whose columns the alias names anew: `as t (a, b)`."""
    names = [] if alias is None else [column.name.lower() for column in alias.args.get("columns") or ()]
    if not names:
        return rows
    if len(names) > len(rows.columns):
        query.missing("an alias with more columns than its table", NAME_COLUMNS)
    columns = dict(zip(names, rows.columns.values(), strict=False))
    rest = list(rows.columns.items())[len(names) :]
    return replace(rows, columns={**columns, **dict(rest)})


def refuse(node: exp.Expr, allowed: set[str], query: Query) -> None:
    """Whatever part of a clause has no rule is unresolved."""
    for name, value in node.args.items():
        if value and name not in allowed:
            part = value[0] if isinstance(value, list) else value
            said = word(part) if isinstance(part, exp.Expr) else name.rstrip("_")
            otherwise = "Write it with joins, WHERE, GROUP BY and windows"
            query.missing(f"`{said.upper()}` in {node.key.upper()}", remedy(said, otherwise))


def word(node: exp.Expr) -> str:
    return "unpivot" if isinstance(node, exp.Pivot) and node.args.get("unpivot") else node.key
