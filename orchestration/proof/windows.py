"""Aggregates and windows: what they tell is of other rows too. Not here: single values (`expressions.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sqlglot import exp

from orchestration.proof.atoms import counted, of_others
from orchestration.proof.domain import (
    CONSENT,
    RETENTION,
    UNSIGNED,
    Factor,
    Mask,
    Symbol,
    Value,
    combined,
    seen,
    stronger,
)
from orchestration.proof.functions import is_aggregate, is_count, is_sum
from orchestration.proof.rules import RULES, Scope, evaluate, parts_of


def _filtered(node: exp.Expr, scope: Scope) -> Value:
    """`aggregate(…) filter (where …)`."""
    condition = evaluate(node.expression.this, scope)
    value = evaluate(node.this, scope)
    return value._replace(
        mask=None,
        atoms=value.atoms | counted(condition.atoms),
        indirect=value.indirect | seen([condition], "filter"),
    )


def aggregated(node: exp.Expr, scope: Scope, *, is_running: bool = False) -> Value:
    """An aggregate: of its arguments, over all rows of the group, whoever they are."""
    arguments = [evaluate(part, scope) for part in parts_of(node) if not isinstance(part, exp.Star)]
    value = combined(arguments, "aggregate")
    if isinstance(node, exp.ArgMax | exp.ArgMin):  # of the first, chosen by the others
        value = value._replace(direct=stronger(arguments[0].direct, "aggregate"))
        value = value._replace(indirect=value.indirect | seen(arguments[1:], "sort"))
    told = counted(value.atoms | scope.others())
    counts = is_count(node) or (is_sum(node) and all(argument.is_count for argument in arguments))
    mask = _mask_of(arguments[0], scope, is_running=is_running) if is_sum(node) and len(arguments) == 1 else None
    return value._replace(atoms=told, strict=frozenset(), is_count=counts, mask=mask)


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
    ordered = [key for spec in specs for key in _ordered(spec)]
    order = [evaluate(key.this, scope) for key in ordered]
    frames = [frame for spec in specs if (frame := spec.args.get("spec")) is not None]
    if any(frame.find(exp.Query, exp.Column) is not None for frame in frames):
        return scope.unresolved("a query or column in a window's frame", "Write a number")
    inner = node.this
    whole = is_aggregate(inner) or _is_plain(inner)
    value = aggregated(inner, scope, is_running=bool(order)) if whole else evaluate(inner, scope)
    is_by_row = bool(keys) and all(isinstance(key.term, Symbol) for key in (*keys, *order))
    is_so_far = bool(ordered) and not frames and not any(key.args.get("desc") for key in ordered)
    mask = value.mask if is_by_row and is_so_far else None
    others = combined([value, *keys, *order]).atoms | scope.others()
    return value._replace(
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


RULES.update({exp.AggFunc: aggregated, exp.Filter: _filtered, exp.Window: _window})
