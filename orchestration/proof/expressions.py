"""What each construct of an expression tells, and what follows where it is true.

Not here: aggregates and windows (`windows.py`), FROM, WHERE and the like (`blocks.py`)."""

from __future__ import annotations

from sqlglot import exp

from orchestration.proof import predicates
from orchestration.proof.atoms import AS_OF, AS_OF_COLUMN, before, unsure
from orchestration.proof.domain import (
    UNSIGNED,
    Const,
    Fact,
    Indirect,
    Rows,
    Value,
    combined,
    conditional,
    seen,
    stronger,
    sure,
    union,
)
from orchestration.proof.rules import RULES, Rule, Scope, evaluate


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
    return value._replace(
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
        told = combined([value])._replace(strict=frozenset())
        return told._replace(truths=value.truths if other.this else value.falses)
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
        return combined([value, *listed])._replace(strict=value.strict)
    return predicates.is_listed(value, (evaluate(item, scope) for item in node.expressions))


def _is_among(value: Value, rows: Rows, scope: Scope) -> Value:
    """`value in (select …)`: some row of the subquery is like this one, and all that holds of it holds."""
    columns = list(rows.columns.values())
    found = columns[0] if len(columns) == 1 else combined(columns)
    equal = predicates.compared(exp.EQ(), value, found)
    told = _exists_in(rows)
    return told._replace(
        atoms=scope.guarded(told.atoms, told.truths | equal.truths) | equal.atoms,
        truths=told.truths | equal.truths,
        direct=value.direct,
        indirect=told.indirect | value.indirect | seen([found], "exists"),
    )


def _exists(node: exp.Expr, scope: Scope) -> Value:
    return _exists_in(scope.subquery(node.this))


def _exists_in(rows: Rows) -> Value:
    found = frozenset(Fact("present", lineage) for lineage in sure(rows.lineages, rows.pending))
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
    one = combined(results)._replace(strict=frozenset(), mask=predicates.met(results))
    return conditional(one._replace(is_count=all(value.is_count for value in results)), *conditions)


def _coalesce(node: exp.Expr, scope: Scope) -> Value:
    return predicates.coalesced([evaluate(part, scope) for part in (node.this, *node.expressions)])


def _bits_and(node: exp.Expr, scope: Scope) -> Value:
    left, right = evaluate(node.this, scope), evaluate(node.expression, scope)
    masks = [value.mask for value in (left, right) if value.mask is not None]
    return combined([left, right])._replace(mask=union(masks) if masks else None)


def _bits_or(node: exp.Expr, scope: Scope) -> Value:
    left, right = evaluate(node.this, scope), evaluate(node.expression, scope)
    return combined([left, right])._replace(mask=predicates.met([left, right]))


def _difference(node: exp.Expr, scope: Scope) -> Value:
    """T less a number of days is an instant that is known."""
    value = _sum_of(node, scope)
    instant, days = evaluate(node.this, scope), _days(node.expression)
    is_as_of = instant.term == AS_OF or instant.roles == {AS_OF_COLUMN}
    return value._replace(term=before(days)) if is_as_of and days is not None else value


def _days(node: exp.Expr) -> int | None:
    """How many days a literal interval has: `to_days(30)`, `interval 30 day`."""
    node = node.unnest()
    if not isinstance(node, exp.ToDays | exp.Interval) or node.this is None:
        return None
    given, unit = node.this.unnest(), str(node.args.get("unit") or "DAY").upper()
    given = given.this.unnest() if isinstance(given, exp.Cast) else given
    is_days = isinstance(given, exp.Literal) and given.name.isdigit() and unit in ("DAY", "DAYS")
    return int(given.name) if is_days else None


def _sum_of(node: exp.Expr, scope: Scope) -> Value:
    left, right = evaluate(node.this, scope), evaluate(node.expression, scope)
    return combined([left, right])._replace(is_count=left.is_count and right.is_count)


def _minus(node: exp.Expr, scope: Scope) -> Value:
    """A scope's mask with the other sign still is that scope's, as a term of a sum."""
    value = scope.evidence(evaluate(node.this, scope))
    mask = value.mask or frozenset()
    signed = frozenset(f._replace(evidence=f.evidence - {UNSIGNED}) for f in mask if f.kind == "scope")
    return combined([value])._replace(mask=signed if signed and len(signed) == len(mask) else None)


def _struct(node: exp.Expr, scope: Scope) -> Value:
    parts = []
    for place, item in enumerate(node.expressions):
        if isinstance(item, exp.PropertyEQ):
            parts.append((item.this.name.lower(), evaluate(item.expression, scope)))
        else:
            parts.append((item.alias_or_name.lower() or str(place), evaluate(item.unalias(), scope)))
    return combined(value for _, value in parts)._replace(parts=tuple(parts))


def _dot(node: exp.Expr, scope: Scope) -> Value:
    return field_of(evaluate(node.this, scope), node.expression.name.lower())


def field_of(value: Value, name: str) -> Value:
    """One part of a struct, or, where its parts are not known, whatever the struct tells."""
    return dict(value.parts).get(name) or combined([value])._replace(strict=value.strict)


def _quantified(node: exp.Expr, scope: Scope) -> Value:
    return scope.unresolved(f"`{node.key}`", "Write it with EXISTS, IN or a join")


def _lambda(node: exp.Expr, scope: Scope) -> Value:
    return scope.unresolved("a lambda", "Unnest the list in a CTE and filter its rows")


_SCALARS: dict[type, Rule] = {
    exp.Literal: _literal, exp.Boolean: _boolean, exp.Null: _null, exp.Column: _column, exp.Paren: _through,
    exp.Alias: _through, exp.Cast: _cast, exp.TryCast: _cast, exp.And: _and, exp.Or: _or, exp.Not: _not, exp.Is: _is,
    exp.EQ: _compare, exp.NEQ: _compare, exp.LT: _compare, exp.LTE: _compare, exp.GT: _compare, exp.GTE: _compare,
    exp.NullSafeEQ: _compare, exp.NullSafeNEQ: _compare, exp.Between: _between, exp.In: _in, exp.Exists: _exists,
    exp.Subquery: _subquery, exp.Select: _subquery, exp.Union: _subquery, exp.Case: _case, exp.If: _if,
    exp.Coalesce: _coalesce, exp.BitwiseAnd: _bits_and, exp.BitwiseOr: _bits_or, exp.Add: _sum_of,
    exp.Sub: _difference, exp.Neg: _minus,
    exp.Struct: _struct, exp.Dot: _dot,  exp.IgnoreNulls: _through,
    exp.RespectNulls: _through, exp.Lambda: _lambda, exp.Any: _quantified, exp.All: _quantified,
}  # fmt: skip
RULES.update(_SCALARS)
