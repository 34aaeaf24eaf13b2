"""What may be named in one SELECT, and what is known of its rows so far.

Not here: how tables come into it (`joins.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from orchestration.proof.atoms import CONSENTS, owners_of
from orchestration.proof.domain import (
    Atom,
    Fact,
    Facts,
    Indirect,
    Rows,
    Symbol,
    Value,
    Why,
    seen,
)
from orchestration.proof.expressions import field_of
from orchestration.proof.knowledge import Knowledge
from orchestration.proof.query import Query
from orchestration.proof.rules import evaluate


@dataclass
class Names:
    """One SELECT while it is read: which tables it has so far, and what is known of its rows."""

    query: Query
    ctes: Mapping[str, Rows]
    parent: Names | None = None
    tables: dict[str, dict[str, Value]] = field(default_factory=dict)
    merged: dict[str, Value] = field(default_factory=dict)  # columns of USING, which have no table
    lost: set[str] = field(default_factory=set)  # tables of FROM of which nothing is known
    parts: list[Rows] = field(default_factory=list)
    atoms: frozenset[Atom] = frozenset()
    facts: Facts = frozenset()
    pending: frozenset[tuple[frozenset[int], Fact]] = frozenset()
    influences: Indirect = frozenset()
    anchors: frozenset[int] = frozenset()
    aliases: dict[str, exp.Expr] = field(default_factory=dict)
    resolving: set[str] = field(default_factory=set)
    windows: dict[str, exp.Window] = field(default_factory=dict)

    def column(self, node: exp.Column) -> Value:
        names = [part.name.lower() for part in node.parts]
        block: Names | None = self
        while block is not None:
            found = block._find(names, node)
            if found is not None:
                return found
            if block.lost:
                return Value()  # it may be of a table that was found unresolved
            block = block.parent
        return self.unresolved(f"`{node.sql('duckdb')}`", _whole_row(self, names))

    def _find(self, names: list[str], node: exp.Column) -> Value | None:
        table = self.tables.get(names[0]) if len(names) > 1 else None
        if table is not None and names[1] in table:
            return _fields(table[names[1]], names[2:])
        if isinstance(node.this, exp.Star):
            return None
        found = [columns[names[0]] for columns in self.tables.values() if names[0] in columns]
        if names[0] in self.merged:
            found = [self.merged[names[0]]]
        if len(found) == 1:
            return _fields(found[0], names[1:])
        if found:
            return self.unresolved(f"`{names[0]}`, which two tables have", "Write it with the alias of its table")
        return self._alias(names)

    def _alias(self, names: list[str]) -> Value | None:
        """A column of this SELECT by its alias, as DuckDB lets one be used beside it."""
        name = names[0]
        if name not in self.aliases or name in self.resolving:
            return None
        self.resolving.add(name)
        try:
            return _fields(evaluate(self.aliases[name], self), names[1:])
        finally:
            self.resolving.discard(name)

    def subquery(self, query: exp.Expr) -> Rows:
        return self.query.read(query, self.ctes, self)

    def unresolved(self, construct: str, remedy: str) -> Value:
        self.query.missing(construct, remedy)
        return Value()

    def guarded(self, atoms: frozenset[Atom], facts: Facts) -> frozenset[Atom]:
        """The atoms with the guards that they have where these facts hold too."""
        return replace(self.knowledge(), facts=self.facts | facts).atoms(atoms)

    def others(self) -> frozenset[Atom]:
        """What an aggregate or a window over these rows depends on."""
        return self.knowledge().atoms(self.atoms)

    def window(self, name: str) -> exp.Window | None:
        return self.windows.get(name)

    def evidence(self, value: Value) -> Value:
        if not value.mask:
            return value
        knowledge = self.knowledge()
        return value._replace(mask=frozenset(knowledge.evidence(factor) for factor in value.mask))

    def knowledge(self) -> Knowledge:
        values = [value for table in self.tables.values() for value in table.values()]
        values += self.parent.known_values() if self.parent is not None else []
        known = {value.term: value for value in values if isinstance(value.term, Symbol)}
        return Knowledge(
            facts=self.facts,
            pending=self.pending,
            known=known,
            consents=frozenset(atom for atom in self.atoms if atom.source == CONSENTS),
            reads=tuple(frozenset(part.lineages) for part in self.parts),
            owners=owners_of(self.atoms.union(*(value.atoms for value in values))),
            anchors=self.anchors | (self.parent.anchors if self.parent is not None else frozenset()),
            keys=self.query.keys,
        )

    def known_values(self) -> list[Value]:
        above = self.parent.known_values() if self.parent is not None else []
        return [*above, *(value for table in self.tables.values() for value in table.values())]

    def _lose(self, alias: str) -> tuple[str, Rows]:
        """A table of FROM of which nothing is known, which has been said."""
        self.lost.add(alias)
        return alias, Rows({})

    def _holds(self, condition: Value, why: Why) -> None:
        self.atoms |= condition.atoms
        self.facts |= condition.truths | frozenset(Fact("present", lineage) for lineage in condition.strict)
        self.influences |= seen([condition], why)
        self._unlock()

    def _unlock(self) -> None:
        """What holds of an optional side holds of every row, once every row must have one."""
        while True:
            present = {fact.left for fact in self.facts if isinstance(fact.left, int)}
            for fact in self.facts:
                if fact.what == "nonzero" and isinstance(fact.left, frozenset):
                    present |= {factor.lineage for factor in fact.left}
            found = {(when, fact) for when, fact in self.pending if when & present}
            if not found:
                return
            self.pending -= found
            self.facts |= {fact for _, fact in found}


def _fields(value: Value, names: list[str]) -> Value:
    for name in names:
        value = field_of(value, name)
    return value


def _whole_row(block: Names, names: list[str]) -> str:
    if len(names) == 1 and names[0] in block.tables:
        return "A whole row as a value hides its columns: name those that you need, `{'a': t.a}`"
    return "Write a column of a table in FROM, with its alias"
