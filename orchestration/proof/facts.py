"""Facts about rows: which terms are equal by them, and which of them anything outside may still make use of.

Not here: what they add up to (`knowledge.py`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from orchestration.proof.domain import (
    Const,
    Fact,
    Facts,
    Rows,
    Symbol,
    Term,
)

SEGMENT = "segment"


@dataclass
class Closure:
    """Which terms are equal by the facts, and which lineages are joined by an equality."""

    parents: dict[Term, Term] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> Closure:
        closure = cls()
        for fact in facts:
            if fact.what == "equal" and isinstance(fact.left, Symbol) and isinstance(fact.right, Symbol | Const):
                closure._join(fact.left, fact.right)
        return closure

    def find(self, term: Term) -> Term:
        while (parent := self.parents.get(term, term)) != term:
            term = parent
        return term

    def same(self, one: Term, other: Term) -> bool:
        return self.find(one) == self.find(other)

    def const(self, term: Term) -> Const | None:
        found = self.find(term)
        return found if isinstance(found, Const) else None

    def classmates(self, term: Term) -> Iterator[Term]:
        found = self.find(term)
        return (one for one in {*self.parents, found, term} if self.find(one) == found)

    def linked(self, lineage: int) -> frozenset[int]:
        """The lineages joined to this one by equalities of their columns, one after the other."""
        classes: dict[Term, set[int]] = {}
        for term in self.parents:
            if isinstance(term, Symbol):
                classes.setdefault(self.find(term), set()).add(term.lineage)
        found, size = {lineage}, 0
        while len(found) > size:
            size = len(found)
            for key, members in classes.items():
                if members & found and not isinstance(key, Const):
                    found |= members
        return frozenset(found)

    def _join(self, one: Term, other: Term) -> None:
        a, b = self.find(one), self.find(other)
        if isinstance(a, Const):
            a, b = b, a
        if a != b and not isinstance(a, Const):
            self.parents[a] = b
        self.parents.setdefault(b, b)


def is_key(symbol: Symbol, names: Collection[str]) -> bool:
    """Is it the value of a column of one of these names, or a group's key by it?"""
    return symbol.name.split(" ")[0] in names


def keys_in(facts: Iterable[Fact], names: Collection[str]) -> frozenset[Symbol]:
    """The keys of which facts tell something: what says whose a row is, or of which segment, stays known, shown or
    not."""
    terms = (term for fact in facts for term in (fact.left, fact.right) if isinstance(term, Symbol))
    return frozenset(term for term in terms if is_key(term, {*names, SEGMENT}))


def visible(rows: Rows) -> frozenset[Symbol]:
    """The symbols by which anything outside may still speak of the rows."""
    found = {value.term for value in rows.columns.values()}
    for atom in rows.atoms.union(*(value.atoms for value in rows.columns.values())):
        for guard in atom.guards:
            found |= {guard.value, guard.of}
    return frozenset(term for term in found if isinstance(term, Symbol))


def kept(facts: Facts, symbols: frozenset[Symbol]) -> Facts:
    """The facts of which something outside may still make use. A mask's go on as guards."""
    closure = Closure.of(facts)
    equal: set[Fact] = set()
    firsts: dict[Term, Symbol] = {}
    for symbol in sorted(symbols & closure.parents.keys()):
        found = closure.find(symbol)
        if isinstance(found, Const):
            equal.add(Fact("equal", symbol, found))
        elif (first := firsts.setdefault(found, symbol)) != symbol:
            equal.add(Fact("equal", symbol, first))
    return frozenset(equal) | frozenset(
        fact
        for fact in facts
        if fact.what not in ("nonzero", "equal")
        and (isinstance(fact.left, int) or fact.left in symbols)
        and (not isinstance(fact.right, Symbol) or fact.right in symbols)
    )
