"""What follows for a row from a comparison that is true of it, and from one that is false.

Only what is certain is said; whatever this does not know says nothing, and so gates nothing. Not here: what facts
add up to (`knowledge.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlglot import exp

from orchestration.proof.atoms import is_cut, left_out
from orchestration.proof.domain import Const, Fact, Facts, Symbol, Value, combined, union

ZERO, TRUE = Const("number", "0"), Const("boolean", "true")


def compared(node: exp.Expr, left: Value, right: Value) -> Value:
    """The value of `left <op> right`."""
    truths, falses = _COMPARED.get(type(node), _nothing)(left, right)
    both = combined([left, right])
    if isinstance(node, exp.NullSafeEQ | exp.NullSafeNEQ):
        return both._replace(strict=frozenset(), truths=truths, falses=falses)
    present = _present(both)
    return both._replace(truths=truths | present, falses=falses | present)


def negated(value: Value) -> Value:
    """NOT: of an EXISTS or IN, that there is no such row."""
    there = {fact.left for fact in value.truths if fact.what == "present"}
    atoms = frozenset(left_out(atom) if atom.lineage in there and is_cut(atom.source) else atom for atom in value.atoms)
    return value._replace(truths=value.falses, falses=value.truths, term=None, mask=None, atoms=atoms)


def both(left: Value, right: Value) -> Value:
    """AND, which may be false where one side is null."""
    return combined([left, right])._replace(
        strict=frozenset(),
        truths=left.truths | right.truths,
        falses=left.falses & right.falses,
    )


def either(left: Value, right: Value) -> Value:
    return combined([left, right])._replace(
        strict=frozenset(),
        truths=left.truths & right.truths,
        falses=left.falses | right.falses,
    )


def is_null(value: Value) -> Value:
    truths = frozenset({Fact("null", value.term)}) if isinstance(value.term, Symbol) else frozenset()
    return combined([value])._replace(strict=frozenset(), truths=truths, falses=_present(value))


def is_listed(value: Value, listed: Iterable[Value]) -> Value:
    """`value in (…)`."""
    each = tuple(listed)
    one = combined([value, *each])._replace(strict=value.strict)
    consts = [item.term for item in each if isinstance(item.term, Const)]
    if not isinstance(value.term, Symbol) or len(consts) < len(each) or not consts:
        return one._replace(truths=_present(value), falses=_present(value))
    among = Fact("equal", value.term, consts[0]) if len(consts) == 1 else Fact("among", value.term, frozenset(consts))
    falses = frozenset(Fact("unequal", value.term, const) for const in consts)
    return one._replace(truths=frozenset({among}) | _present(value), falses=falses | _present(value))


def is_true(value: Value) -> Value:
    """A boolean value used as a condition: true only where it is not null."""
    itself = frozenset({Fact("equal", value.term, TRUE)}) if isinstance(value.term, Symbol) else frozenset()
    return value._replace(truths=value.truths | itself | _present(value))


def between(value: Value, low: Value, high: Value) -> Value:
    return both(compared(exp.LTE(), low, value), compared(exp.LTE(), value, high))


def coalesced(values: list[Value]) -> Value:
    """A boolean `coalesce(x, false)` is true only where x is; a mask coalesced to 0 is no wider."""
    first, rest = values[0], values[1:]
    result = combined(values)._replace(strict=union([]) if rest else first.strict)
    if rest and all(value.term == Const("boolean", "false") for value in rest):
        return result._replace(truths=first.truths)
    if rest and all(value.term == TRUE for value in rest):
        return result._replace(falses=first.falses)
    return result._replace(mask=met(values), is_count=all(v.is_count or v.term == ZERO for v in values))


def met(values: Iterable[Value]) -> frozenset | None:  # type: ignore[type-arg]
    """The factors that bound a mask which is one of `values`; null and 0 are within every bound."""
    masks = [value.mask for value in values if not (value.is_zero or value.is_null)]
    if not masks or any(mask is None for mask in masks):
        return None
    found = masks[0]
    for mask in masks[1:]:
        found = found & mask  # type: ignore[operator]
    return found


def _present(value: Value) -> Facts:
    return frozenset(Fact("present", lineage) for lineage in value.strict)


def _nothing(_left: Value, _right: Value) -> tuple[Facts, Facts]:
    return frozenset(), frozenset()


def _equal(left: Value, right: Value) -> tuple[Facts, Facts]:
    falses = _nonzero(left, right) | _nonzero(right, left) | _pair("unequal", left, right)
    return _pair("equal", left, right) | _same_bits(left, right) | _same_bits(right, left), falses


def _unequal(left: Value, right: Value) -> tuple[Facts, Facts]:
    truths, falses = _equal(left, right)
    return falses, truths


def _same(left: Value, right: Value) -> tuple[Facts, Facts]:
    """`is not distinct from`: two empty values are the same, and nobody's."""
    if isinstance(left.term, Const) or isinstance(right.term, Const):
        return _pair("equal", left, right), frozenset()
    return frozenset(), frozenset()


def _distinct(left: Value, right: Value) -> tuple[Facts, Facts]:
    truths, falses = _same(left, right)
    return falses, truths


def _less(left: Value, right: Value) -> tuple[Facts, Facts]:
    return _ordered(left, right) | _nonzero(right, left), _ordered(right, left)


def _more(left: Value, right: Value) -> tuple[Facts, Facts]:
    return _less(right, left)


def _at_most(left: Value, right: Value) -> tuple[Facts, Facts]:
    return _ordered(left, right), _ordered(right, left)


def _at_least(left: Value, right: Value) -> tuple[Facts, Facts]:
    return _at_most(right, left)


_COMPARED: dict[type, Callable[[Value, Value], tuple[Facts, Facts]]] = {
    exp.EQ: _equal, exp.NEQ: _unequal, exp.NullSafeEQ: _same, exp.NullSafeNEQ: _distinct,
    exp.LT: _less, exp.GT: _more, exp.LTE: _at_most, exp.GTE: _at_least,
}  # fmt: skip


def _pair(what: str, left: Value, right: Value) -> Facts:
    a, b = left.term, right.term
    if isinstance(a, Symbol) and b is not None:
        return frozenset({Fact(what, a, b)})
    if isinstance(b, Symbol) and a is not None:
        return frozenset({Fact(what, b, a)})
    return frozenset()


def _ordered(low: Value, high: Value) -> Facts:
    a, b = low.term, high.term
    known = [isinstance(term, Symbol) or (term is not None and term.kind == "instant") for term in (a, b)]
    return frozenset({Fact("less", a, b)}) if a is not None and b is not None and all(known) else frozenset()


def _nonzero(mask: Value, zero: Value) -> Facts:
    if zero.term == ZERO and mask.mask:
        return frozenset({Fact("nonzero", mask.mask)})
    return frozenset()


def _same_bits(masked: Value, one: Value) -> Facts:
    """`mask & s.scope_mask = s.scope_mask`: a scope's mask is never 0."""
    scopes = one.mask or frozenset()
    if (
        masked.mask
        and one.roles
        and scopes
        and scopes < masked.mask
        and all(factor.kind == "scope" for factor in scopes)
    ):
        return frozenset({Fact("nonzero", masked.mask)})
    return frozenset()
