"""GROUP BY: a group is a row of its own, known by its keys. What its rows passed before, they passed, and nothing
clears them afterwards. Not here: which keys there are (`blocks.py`), aggregates (`expressions.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestration.proof.atoms import unsure
from orchestration.proof.domain import Atom, Column, Fact, Facts, Guard, Indirect, Mask, Rows, Symbol, Term, Value
from orchestration.proof.facts import kept, keys_in, visible
from orchestration.proof.knowledge import Knowledge


@dataclass
class Groups:
    """The groups of one SELECT: their keys, and what is known of each."""

    knowledge: Knowledge
    lineage: int
    keys: Mapping[Term, Symbol]  # the value of a key before, and after
    facts: Facts
    atoms: frozenset[Atom]
    anchors: frozenset[int]
    columns: frozenset[frozenset[Column]]  # of each key

    @classmethod
    def of(cls, knowledge: Knowledge, keys: Sequence[Value], lineage: int, atoms: Iterable[Atom]) -> Groups:
        terms = sorted({key.term for key in keys if isinstance(key.term, Symbol)})
        names: dict[Term, Symbol] = {term: Symbol(lineage, f"{term.name} {i}") for i, term in enumerate(terms)}
        anchors = frozenset({lineage}) if keys and knowledge.anchors else frozenset[int]()
        columns = frozenset(frozenset(column for column, _ in key.direct) for key in keys)
        groups = cls(knowledge, lineage, names, frozenset(), frozenset(), anchors, columns)
        groups.facts = groups._mapped(kept(knowledge.facts, frozenset(terms)))
        groups.atoms = groups._moved(unsure(knowledge.atoms(frozenset(atoms)), knowledge.optional))
        return groups

    def value(self, value: Value) -> Value:
        """A key, an aggregate, or what is computed from them."""
        return value._replace(
            term=self._term(value.term),
            mask=self._mask(value.mask),
            strict=frozenset({self.lineage}) if value.strict else value.strict,
            atoms=self._moved(self.knowledge.atoms(value.atoms)),
            truths=self._mapped(value.truths),
            falses=self._mapped(value.falses),
            parts=tuple((name, self.value(part)) for name, part in value.parts),
        )

    def hold(self, condition: Value) -> None:
        """HAVING: only groups of which it is true."""
        self.atoms |= condition.atoms
        self.facts |= condition.truths

    def rows(self, columns: Mapping[str, Value], influences: Indirect) -> Rows:
        after = replace(
            self.knowledge, facts=self.facts, pending=frozenset(), known={}, reads=(), owners=frozenset(),
            anchors=self.anchors,
        )  # fmt: skip
        settled = {name: value._replace(atoms=after.atoms(value.atoms)) for name, value in columns.items()}
        rows = Rows(
            columns=settled,
            atoms=after.atoms(self.atoms),
            lineages=(self.lineage,),
            influences=influences,
            anchors=self.anchors,
            is_grouped=True,
            keys=self.columns,
        )
        symbols = visible(rows) | keys_in(self.facts, self.knowledge.keys.values())
        return replace(rows, facts=kept(self.facts, symbols))

    def _term(self, term: Term | None) -> Term | None:
        if not isinstance(term, Symbol) or term in self.keys:
            return self.keys.get(term, term) if term is not None else None
        return next((new for old, new in self.keys.items() if self.knowledge.everywhere.same(old, term)), None)

    def _moved(self, atoms: Iterable[Atom]) -> frozenset[Atom]:
        return frozenset(
            atom._replace(
                lineage=None if atom.lineage is None else self.lineage,
                is_own=False,
                guards=frozenset(moved for guard in atom.guards if (moved := self._guard(guard)) is not None),
            )
            for atom in atoms
        )

    def _guard(self, guard: Guard) -> Guard | None:
        """A guard by a value that the groups do not share is gone."""
        moved = Guard(guard.what, self._term(guard.value), self._term(guard.of))
        lost = (moved.value is None and guard.value is not None) or (moved.of is None and guard.of is not None)
        return None if lost else moved

    def _mapped(self, facts: Iterable[Fact]) -> Facts:
        found = set()
        for fact in facts:
            left = self.keys.get(fact.left) if isinstance(fact.left, Symbol) else None
            right = self.keys.get(fact.right) if isinstance(fact.right, Symbol) else fact.right
            if left is not None and (right is not None or fact.right is None):
                found.add(Fact(fact.what, left, right))
        return frozenset(found)

    def _mask(self, mask: Mask | None) -> Mask | None:
        """The sum of a group's masks: a mask of the group, no more of any touchpoint."""
        if mask is None:
            return None
        here = frozenset({self.lineage})
        return frozenset(
            factor._replace(
                lineage=self.lineage,
                purpose=self._term(factor.purpose),
                controller=self._term(factor.controller),
                category=self._term(factor.category),
                linked=here,
                riders=frozenset(),
                bound=frozenset(),
            )
            for factor in mask
        )
