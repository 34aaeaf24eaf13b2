"""What an SQL expression tells, and what follows where it is true: one rule for each construct.

A construct without a rule is unresolved: it fails, with the way to write it. Not here: FROM, WHERE and the like
(`blocks.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from sqlglot import exp

from orchestration.proof import predicates
from orchestration.proof.domain import (
    CONSENT,
    RETENTION,
    UNSIGNED,
    Atom,
    Const,
    Fact,
    Factor,
    Facts,
    Indirect,
    Mask,
    Rows,
    Value,
    combined,
    conditional,
    seen,
    stronger,
    union,
)
from orchestration.proof.facts import AS_OF, AS_OF_COLUMN, counted, of_others, unsure
from orchestration.proof.functions import is_aggregate, is_count, is_known, is_sum
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


def evaluate(node: exp.Expr, scope: Scope) -> Value:
    """The value of an expression in every row of `scope`."""
    rule = _RULES.get(type(node))
    if rule is not None:
        return rule(node, scope)
    if isinstance(node, exp.Window):
        return _window(node, scope)
    if is_aggregate(node):
        return aggregated(node, scope)
    if isinstance(node, exp.Func | exp.Anonymous) and not is_known(node):
        otherwise = "Use a function of DuckDB whose result depends on its arguments alone, or write out what it does"
        return scope.unresolved(f"the function {_name(node)}()", remedy(_name(node), otherwise))
    if isinstance(node, _PLAIN):
        value = combined(evaluate(part, scope) for part in parts_of(node))
        # only operators are null wherever an operand is: concat(), greatest() and many others are not
        return value if _is_operator(node) else replace(value, strict=frozenset())
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


def _literal(node: exp.Expr, _scope: Scope) -> Value:
    term = Const("text" if node.args.get("is_string") else "number", node.name)
    return Value(term=term, is_zero=term == predicates.ZERO, is_count=term.kind == "number")


def _boolean(node: exp.Expr, _scope: Scope) -> Value:
    return Value(term=Const("boolean", "true" if node.this else "false"))


def _null(_node: exp.Expr, _scope: Scope) -> Value:
    return Value(is_null=True, is_count=True)


def _column(node: exp.Expr, scope: Scope) -> Value:
    assert isinstance(node, exp.Column)
    return scope.column(node)


def _through(node: exp.Expr, scope: Scope) -> Value:
    return evaluate(node.this, scope)


def _cast(node: exp.Expr, scope: Scope) -> Value:
    """A mask cast to a whole number is the same mask, and a code cast to text the same code."""
    value = evaluate(node.this, scope)
    whole, text = node.args["to"].is_type(*_WHOLE), node.args["to"].is_type(*_TEXTS)
    return replace(
        value,
        direct=stronger(value.direct, "compute"),
        term=value.term if text else None,
        roles=value.roles if text else frozenset(),
        mask=value.mask if whole else None,
        is_zero=value.is_zero and whole,
        is_count=value.is_count and whole,
        truths=frozenset(),
        falses=frozenset(),
        parts=(),
    )


_WHOLE = ("bigint", "int", "ubigint", "hugeint", "int128", "smallint", "tinyint")
_TEXTS = ("varchar", "text")


def _condition(node: exp.Expr, scope: Scope) -> Value:
    return predicates.is_true(evaluate(node, scope))


def _and(node: exp.Expr, scope: Scope) -> Value:
    return predicates.both(_condition(node.this, scope), _condition(node.expression, scope))


def _or(node: exp.Expr, scope: Scope) -> Value:
    return predicates.either(_condition(node.this, scope), _condition(node.expression, scope))


def _not(node: exp.Expr, scope: Scope) -> Value:
    return predicates.negated(evaluate(node.this, scope))


def _compare(node: exp.Expr, scope: Scope) -> Value:
    return predicates.compared(node, evaluate(node.this, scope), evaluate(node.expression, scope))


def _is(node: exp.Expr, scope: Scope) -> Value:
    value, other = evaluate(node.this, scope), node.expression
    if isinstance(other, exp.Null):
        return predicates.is_null(value)
    if isinstance(other, exp.Boolean):
        told = replace(combined([value]), strict=frozenset())
        return replace(told, truths=value.truths if other.this else value.falses)
    return predicates.compared(exp.NullSafeEQ(), value, evaluate(other, scope))


def _between(node: exp.Expr, scope: Scope) -> Value:
    return predicates.between(*(evaluate(node.args[part], scope) for part in ("this", "low", "high")))


def _in(node: exp.Expr, scope: Scope) -> Value:
    value = evaluate(node.this, scope)
    query = node.args.get("query")
    if query is not None:
        return _is_among(value, scope.subquery(query), scope)
    if node.args.get("unnest") is not None or node.args.get("field") is not None:
        listed = [evaluate(node.args.get("unnest") or node.args["field"], scope)]
        return replace(combined([value, *listed]), strict=value.strict)
    return predicates.is_listed(value, (evaluate(item, scope) for item in node.expressions))


def _is_among(value: Value, rows: Rows, scope: Scope) -> Value:
    """`value in (select …)`: some row of the subquery is like this one, and all that holds of it holds."""
    found = next(iter(rows.columns.values()), Value())
    equal = predicates.compared(exp.EQ(), value, found)
    told = _exists_in(rows)
    return replace(
        told,
        atoms=scope.guarded(told.atoms, told.truths | equal.truths) | equal.atoms,
        truths=told.truths | equal.truths,
        direct=value.direct,
        indirect=told.indirect | value.indirect | seen([found], "exists"),
    )


def _exists(node: exp.Expr, scope: Scope) -> Value:
    return _exists_in(scope.subquery(node.this))


def _exists_in(rows: Rows) -> Value:
    found = frozenset(Fact("present", lineage) for lineage in rows.lineages)
    return Value(atoms=unsure(rows.atoms), truths=rows.facts | found, indirect=_told_by(rows))


def _told_by(rows: Rows) -> Indirect:
    return frozenset((column, "exists") for column, _ in rows.influences)


def _subquery(node: exp.Expr, scope: Scope) -> Value:
    """A scalar subquery: the value of whichever row there is."""
    rows = scope.subquery(node)
    value = next(iter(rows.columns.values()), Value())
    return Value(
        atoms=value.atoms | unsure(rows.atoms),
        direct=value.direct,
        indirect=value.indirect | _told_by(rows),
        is_count=value.is_count,
        term=AS_OF if value.roles == {AS_OF_COLUMN} else value.term if isinstance(value.term, Const) else None,
    )


def _case(node: exp.Expr, scope: Scope) -> Value:
    """Each branch, told by its own condition and those before it."""
    subject = None if node.this is None else evaluate(node.this, scope)
    conditions: list[Value] = []
    results: list[Value] = []
    for branch in node.args["ifs"]:
        asked = evaluate(branch.this, scope)
        conditions.append(asked if subject is None else combined([subject, asked]))
        results.append(evaluate(branch.args["true"], scope))
    default = node.args.get("default")
    results.append(Value(is_null=True, is_count=True) if default is None else evaluate(default, scope))
    return _chosen(results, conditions)


def _if(node: exp.Expr, scope: Scope) -> Value:
    default = node.args.get("false")
    results = [evaluate(node.args["true"], scope)]
    results.append(Value(is_null=True, is_count=True) if default is None else evaluate(default, scope))
    return _chosen(results, [evaluate(node.this, scope)])


def _chosen(results: list[Value], conditions: list[Value]) -> Value:
    one = replace(combined(results), strict=frozenset(), mask=predicates.met(results))
    return conditional(replace(one, is_count=all(value.is_count for value in results)), *conditions)


def _coalesce(node: exp.Expr, scope: Scope) -> Value:
    return predicates.coalesced([evaluate(part, scope) for part in (node.this, *node.expressions)])


def _bits_and(node: exp.Expr, scope: Scope) -> Value:
    left, right = evaluate(node.this, scope), evaluate(node.expression, scope)
    masks = [value.mask for value in (left, right) if value.mask is not None]
    return replace(combined([left, right]), mask=union(masks) if masks else None)


def _bits_or(node: exp.Expr, scope: Scope) -> Value:
    left, right = evaluate(node.this, scope), evaluate(node.expression, scope)
    return replace(combined([left, right]), mask=predicates.met([left, right]))


def _sum_of(node: exp.Expr, scope: Scope) -> Value:
    left, right = evaluate(node.this, scope), evaluate(node.expression, scope)
    return replace(combined([left, right]), is_count=left.is_count and right.is_count)


def _minus(node: exp.Expr, scope: Scope) -> Value:
    """A scope's mask with the other sign still is that scope's, as a term of a sum."""
    value = scope.evidence(evaluate(node.this, scope))
    mask = value.mask or frozenset()
    signed = frozenset(f._replace(evidence=f.evidence - {UNSIGNED}) for f in mask if f.kind == "scope")
    return replace(combined([value]), mask=signed if signed and len(signed) == len(mask) else None)


def _struct(node: exp.Expr, scope: Scope) -> Value:
    parts = []
    for place, item in enumerate(node.expressions):
        if isinstance(item, exp.PropertyEQ):
            parts.append((item.this.name.lower(), evaluate(item.expression, scope)))
        else:
            parts.append((item.alias_or_name.lower() or str(place), evaluate(item.unalias(), scope)))
    return replace(combined(value for _, value in parts), parts=tuple(parts))


def _dot(node: exp.Expr, scope: Scope) -> Value:
    return field_of(evaluate(node.this, scope), node.expression.name.lower())


def field_of(value: Value, name: str) -> Value:
    """One part of a struct, or, where its parts are not known, whatever the struct tells."""
    return dict(value.parts).get(name) or replace(combined([value]), strict=value.strict)


def _filtered(node: exp.Expr, scope: Scope) -> Value:
    """`aggregate(…) filter (where …)`."""
    condition = evaluate(node.expression.this, scope)
    value = evaluate(node.this, scope)
    return replace(
        value,
        mask=None,
        atoms=value.atoms | counted(condition.atoms),
        indirect=value.indirect | seen([condition], "filter"),
    )


def aggregated(node: exp.Expr, scope: Scope, *, is_running: bool = False) -> Value:
    """An aggregate: of its arguments, over all rows of the group, whoever they are."""
    arguments = [evaluate(part, scope) for part in parts_of(node) if not isinstance(part, exp.Star)]
    value = combined(arguments, "aggregate")
    if isinstance(node, exp.ArgMax | exp.ArgMin):  # of the first, chosen by the others
        value = replace(value, direct=stronger(arguments[0].direct, "aggregate"))
        value = replace(value, indirect=value.indirect | seen(arguments[1:], "sort"))
    told = counted(value.atoms | scope.others())
    counts = is_count(node) or (is_sum(node) and all(argument.is_count for argument in arguments))
    mask = _mask_of(arguments[0], scope, is_running=is_running) if is_sum(node) and len(arguments) == 1 else None
    return replace(value, atoms=told, strict=frozenset(), is_count=counts, mask=mask)


def _mask_of(term: Value, scope: Scope, *, is_running: bool) -> Mask | None:
    """A sum of scopes' masks: of the scopes whose consent admits, or that retention keeps, by what chose the rows. A
    sum with both signs is a change of them, until it runs over all changes so far."""
    term = scope.evidence(term)
    if not term.mask or any(factor.kind != "scope" for factor in term.mask):
        return None
    known = frozenset.intersection(*(factor.evidence for factor in term.mask))
    is_signed = UNSIGNED not in known
    if is_signed and not is_running:
        return frozenset(Factor("scope", factor.lineage, known) for factor in term.mask)
    if is_running and not is_signed:
        return None
    kind: Literal["consent", "retention", "sum"] = "sum"
    if CONSENT in known or RETENTION in known:
        kind = CONSENT if CONSENT in known else RETENTION
    return frozenset(Factor(kind, factor.lineage) for factor in term.mask)


def _window(node: exp.Window, scope: Scope) -> Value:
    """A window: of its arguments in other rows too, told by how these are parted and ordered."""
    name = node.args.get("alias")
    named = None if name is None else scope.window(name.name.lower())
    if name is not None and named is None:
        return scope.unresolved(f"the window `{name.name}`", "Define it in WINDOW, or write it out in OVER (…)")
    specs = [node] if named is None else [named, node]
    keys = [evaluate(key, scope) for spec in specs for key in spec.args.get("partition_by") or ()]
    order = [evaluate(key.this, scope) for spec in specs for key in _ordered(spec)]
    inner = node.this
    whole = is_aggregate(inner) or _is_plain(inner)
    value = aggregated(inner, scope, is_running=bool(order)) if whole else evaluate(inner, scope)
    mask = value.mask if keys and order else None
    others = combined([value, *keys, *order]).atoms | scope.others()
    return replace(
        value,
        mask=mask,
        is_count=False,
        atoms=of_others(others, keys),
        indirect=value.indirect | seen([*keys, *order], "window"),
    )


def _is_plain(node: exp.Expr) -> bool:
    """A window function such as lead() or row_number(), which DuckDB's catalogue lists as none of the others."""
    return isinstance(node, exp.Func) and not isinstance(node, exp.Anonymous) and not is_aggregate(node)


def _ordered(spec: exp.Expr) -> Sequence[exp.Expr]:
    order = spec.args.get("order")
    return () if order is None else order.expressions


def _quantified(node: exp.Expr, scope: Scope) -> Value:
    return scope.unresolved(f"`{node.key}`", "Write it with EXISTS, IN or a join")


def _lambda(node: exp.Expr, scope: Scope) -> Value:
    return scope.unresolved("a lambda", "Unnest the list in a CTE and filter its rows")


_Rule = Callable[[Any, Scope], Value]
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
_RULES: dict[type, _Rule] = {
    exp.Literal: _literal, exp.Boolean: _boolean, exp.Null: _null, exp.Column: _column, exp.Paren: _through,
    exp.Alias: _through, exp.Cast: _cast, exp.TryCast: _cast, exp.And: _and, exp.Or: _or, exp.Not: _not, exp.Is: _is,
    exp.EQ: _compare, exp.NEQ: _compare, exp.LT: _compare, exp.LTE: _compare, exp.GT: _compare, exp.GTE: _compare,
    exp.NullSafeEQ: _compare, exp.NullSafeNEQ: _compare, exp.Between: _between, exp.In: _in, exp.Exists: _exists,
    exp.Subquery: _subquery, exp.Select: _subquery, exp.Union: _subquery, exp.Case: _case, exp.If: _if,
    exp.Coalesce: _coalesce, exp.BitwiseAnd: _bits_and, exp.BitwiseOr: _bits_or, exp.Add: _sum_of,
    exp.Sub: _sum_of, exp.Neg: _minus,
    exp.Struct: _struct, exp.Dot: _dot, exp.Filter: _filtered, exp.IgnoreNulls: _through,
    exp.RespectNulls: _through, exp.Lambda: _lambda, exp.Any: _quantified, exp.All: _quantified,
}  # fmt: skip
