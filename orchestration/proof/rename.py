"""Makes the lineages of a table, a subquery or a CTE those of one read of it: every read has rows of its own.

Not here: what a lineage means (`domain.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orchestration.proof.domain import (
    Atom,
    Counter,
    Fact,
    Factor,
    Facts,
    Guard,
    Mask,
    Pending,
    Rows,
    Symbol,
    Term,
    Value,
)


@dataclass
class Move:
    """Old lineage → new, each new one handed out when it is first met."""

    counter: Counter
    moved: dict[int, int] = field(default_factory=dict)
    met: dict[frozenset[Atom], frozenset[Atom]] = field(default_factory=dict)

    def __call__(self, lineage: int) -> int:
        if lineage not in self.moved:
            self.moved[lineage] = self.counter()
        return self.moved[lineage]

    def all(self, lineages: Iterable[int]) -> frozenset[int]:
        return frozenset(self(lineage) for lineage in lineages)

    def term(self, term: Term | None) -> Term | None:
        return Symbol(self(term.lineage), term.name) if isinstance(term, Symbol) else term

    def factor(self, factor: Factor) -> Factor:
        return factor._replace(
            lineage=self(factor.lineage),
            purpose=self.term(factor.purpose),
            controller=self.term(factor.controller),
            category=self.term(factor.category),
            linked=self.all(factor.linked),
            riders=self.all(factor.riders),
            bound=self.all(factor.bound),
        )

    def mask(self, mask: Mask | None) -> Mask | None:
        return None if mask is None else frozenset(self.factor(factor) for factor in mask)

    def atom(self, atom: Atom) -> Atom:
        guards = frozenset(Guard(g.what, self.term(g.value), self.term(g.of)) for g in atom.guards)
        return atom._replace(lineage=None if atom.lineage is None else self(atom.lineage), guards=guards)

    def atoms(self, atoms: frozenset[Atom]) -> frozenset[Atom]:
        if atoms not in self.met:  # the columns of a table mostly have the same
            self.met[atoms] = frozenset(self.atom(atom) for atom in atoms)
        return self.met[atoms]

    def fact(self, fact: Fact) -> Fact:
        left, right = fact.left, fact.right
        if isinstance(left, int):
            return fact._replace(left=self(left))
        if isinstance(left, frozenset):
            return fact._replace(left=frozenset(self.factor(factor) for factor in left))
        moved = Symbol(self(left.lineage), left.name) if isinstance(left, Symbol) else left
        return Fact(fact.what, moved, self.term(right) if isinstance(right, Symbol) else right)

    def facts(self, facts: Iterable[Fact]) -> Facts:
        return frozenset(self.fact(fact) for fact in facts)

    def pending(self, pending: Pending) -> Pending:
        return frozenset((self.all(when), self.fact(fact)) for when, fact in pending)

    def value(self, value: Value, name: Symbol | None = None) -> Value:
        """With a name, if it has no term of its own."""
        term, strict = self.term(value.term), self.all(value.strict)
        if term is None and name is not None:
            term, strict = name, strict or frozenset({name.lineage})
        return value._replace(
            term=term,
            mask=self.mask(value.mask),
            strict=strict,
            atoms=self.atoms(value.atoms),
            truths=self.facts(value.truths),
            falses=self.facts(value.falses),
            parts=tuple((name, self.value(part)) for name, part in value.parts),
        )


def read_again(rows: Rows, counter: Counter) -> Rows:
    """`rows` with lineages of their own, and a name for the value of each column."""
    move = Move(counter)
    lineages = tuple(move(lineage) for lineage in rows.lineages) or (counter(),)
    main = lineages[0]
    return replace(
        rows,
        columns={name: move.value(value, Symbol(main, name)) for name, value in rows.columns.items()},
        atoms=move.atoms(rows.atoms),
        facts=move.facts(rows.facts),
        pending=move.pending(rows.pending),
        lineages=lineages,
        anchors=move.all(rows.anchors),
    )
