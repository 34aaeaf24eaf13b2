"""How an SQL expression is evaluated: by the rule of its construct; one without a rule is unresolved, and fails.

Not here: the rules themselves (`expressions.py`, `windows.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from sqlglot import exp

from orchestration.proof.domain import (
    Atom,
    Facts,
    Rows,
    Value,
    combined,
)
from orchestration.proof.functions import is_aggregate, is_known
from orchestration.proof.remedies import remedy


@dataclass(frozen=True)
class Unresolved:
    """SQL of which nothing can be said, where it is, and how to write it instead."""

    construct: str
    where: str
    remedy: str


class Scope(Protocol):
    """What an expression may name, and what its aggregates and windows see."""

    def column(self, node: exp.Column) -> Value: ...
    def subquery(self, query: exp.Expr) -> Rows: ...
    def unresolved(self, construct: str, remedy: str) -> Value: ...
    def others(self) -> frozenset[Atom]: ...
    def window(self, name: str) -> exp.Window | None: ...
    def evidence(self, value: Value) -> Value: ...
    def guarded(self, atoms: frozenset[Atom], facts: Facts) -> frozenset[Atom]: ...


Rule = Callable[[Any, Scope], Value]


RULES: dict[type, Rule] = {}


_PLAIN = (
    exp.Func,
    exp.Anonymous,
    exp.Binary,
    exp.Unary,
    exp.Tuple,
    exp.Ordered,
    exp.Bracket,
    exp.Slice,
    exp.Array,
    exp.Distinct,
    exp.Order,
    exp.WithinGroup,
    exp.JSONKeyValue,
    exp.AtTimeZone,
    exp.Interval,
    exp.Collate,
)


def evaluate(node: exp.Expr, scope: Scope) -> Value:
    """The value of an expression in every row of `scope`."""
    rule = RULES.get(type(node))
    if rule is not None:
        return rule(node, scope)
    if is_aggregate(node):
        return RULES[exp.AggFunc](node, scope)
    if isinstance(node, exp.Func | exp.Anonymous) and not is_known(node):
        otherwise = "Use a function of DuckDB whose result depends on its arguments alone, or write out what it does"
        return scope.unresolved(f"the function {_name(node)}()", remedy(_name(node), otherwise))
    if isinstance(node, _PLAIN):
        value = combined(evaluate(part, scope) for part in parts_of(node))
        # only operators are null wherever an operand is: concat(), greatest() and many others are not
        return value if _is_operator(node) else value._replace(strict=frozenset())
    return scope.unresolved(f"`{node.key}`", remedy(node.key, "Write it with plain operators, CASE and functions"))


def _is_operator(node: exp.Expr) -> bool:
    return isinstance(node, exp.Binary | exp.Unary) and not isinstance(node, exp.Func)


def parts_of(node: exp.Expr) -> Iterable[exp.Expr]:
    """The operands of a node, in order; names of types, units and formats are none."""
    for part in node.iter_expressions():
        if not isinstance(part, exp.DataType | exp.Var | exp.Identifier | exp.JSONPath):
            yield part


def _name(node: exp.Expr) -> str:
    return node.name.lower() if isinstance(node, exp.Anonymous) else str(node.sql_names()[0]).lower()
