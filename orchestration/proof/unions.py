"""Set operations: what holds of every branch holds of the whole, and nothing else does.

Not here: the branches themselves (`blocks.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from orchestration.proof.atoms import INNER, is_cut, is_touchpoint, owners_of, unsure
from orchestration.proof.domain import (
    Atom,
    Column,
    Const,
    Counter,
    Fact,
    Factor,
    Facts,
    Guard,
    Mask,
    Rows,
    Symbol,
    Term,
    Value,
    stronger,
    union,
)
from orchestration.proof.facts import Closure

_KINDS = ("scope", "consent", "retention", "sum")


def united(given: Sequence[Rows], *, by_name: bool, counter: Counter) -> Rows:
    """UNION: rows of any of them. A column that one branch lacks is empty there."""
    lineage = counter()
    names = list(given[0].columns)
    each = [dict(r.columns) if by_name else dict(zip(names, r.columns.values(), strict=False)) for r in given]
    names = list(dict.fromkeys(name for columns in each for name in columns))
    empty = Value(is_null=True, is_count=True)
    branches = [
        _Branch(rows, {name: columns.get(name, empty) for name in names}, lineage)
        for rows, columns in zip(given, each, strict=True)
    ]
    columns = {name: _either([b.columns[name] for b in branches], branches, Symbol(lineage, name)) for name in names}
    return Rows(
        columns=columns,
        atoms=_shared([branch.atoms(branch.rows.atoms) for branch in branches]),
        facts=frozenset.intersection(*(branch.facts() for branch in branches)),
        lineages=(lineage,),
        influences=union(rows.influences for rows in given),
        anchors=frozenset({lineage}) if all(rows.anchors for rows in given) else frozenset(),
        is_grouped=all(rows.is_grouped for rows in given),
        keys=union(rows.keys for rows in given),
    )


def told_apart(left: Rows, right: Rows) -> Rows:
    """EXCEPT and INTERSECT: rows of the left, told by those of the right."""
    told = right.atoms | union(value.atoms for value in right.columns.values())
    columns = [frozenset((column, "exists") for column, _ in value.direct) for value in right.columns.values()]
    return replace(
        left,
        atoms=left.atoms | frozenset(atom._replace(lineage=None, is_own=False) for atom in told),
        influences=left.influences | right.influences | union(columns),  # type: ignore[arg-type]
    )


def _shared(branches: Sequence[frozenset[Atom]]) -> frozenset[Atom]:
    """The atoms of all branches. What every row must have is only what it must have in each of them."""
    each = [frozenset(_kind(atom) for atom in atoms if INNER in atom.guards) for atoms in branches]
    sure = frozenset.intersection(*each)
    return union(
        frozenset(a if _kind(a) in sure else a._replace(guards=a.guards - {INNER}) for a in atoms) for atoms in branches
    )


def _kind(atom: Atom) -> str:
    """Any segment's mart is as good as another: which one it is, the branch says."""
    return "mart" if atom.source.startswith("mart ") else atom.source


@dataclass(frozen=True)
class _Branch:
    rows: Rows
    columns: Mapping[str, Value]
    lineage: int

    def names(self, term: Term | None) -> list[str]:
        if not isinstance(term, Symbol):
            return []
        return [name for name, value in self.columns.items() if value.term is not None and self._is(value.term, term)]

    def _is(self, one: Term, other: Term) -> bool:
        return one == other or (isinstance(one, Symbol) and self.equal.same(one, other))

    @cached_property
    def equal(self) -> Closure:
        return Closure.of(self.rows.facts)

    def atoms(self, atoms: frozenset[Atom]) -> frozenset[Atom]:
        optional = frozenset(lineage for when, _ in self.rows.pending for lineage in when)
        return frozenset(self._atom(atom) for atom in unsure(atoms, optional))

    def _atom(self, atom: Atom) -> Atom:
        guards = frozenset(moved for guard in atom.guards for moved in self._guards(guard))
        if is_cut(atom.source):
            guards |= {
                Guard("branch", value.term, Symbol(self.lineage, name))
                for name, value in self.columns.items()
                if isinstance(value.term, Const) and value.term.kind == "text"
            }
        own = atom.is_own and not is_cut(atom.source) and (not is_touchpoint(atom.source) or len(self._owners) == 1)
        return atom._replace(lineage=None if atom.lineage is None else self.lineage, is_own=own, guards=guards)

    @cached_property
    def _owners(self) -> frozenset[int]:
        return owners_of(self.rows.atoms.union(*(value.atoms for value in self.columns.values())))

    def _guards(self, guard: Guard) -> list[Guard]:
        """A guard by the columns that the union still shows; one by a column that it does not is gone."""
        values = self._terms(guard.value)
        ofs = self._terms(guard.of)
        return [Guard(guard.what, value, of) for value in values for of in ofs]

    def _terms(self, term: Term | None) -> list[Term | None]:
        if not isinstance(term, Symbol):
            return [term]
        return [Symbol(self.lineage, name) for name in self.names(term)]

    def facts(self) -> Facts:
        found = {
            Fact("equal", Symbol(self.lineage, name), value.term)
            for name, value in self.columns.items()
            if isinstance(value.term, Const)
        }
        for name, value in self.columns.items():
            const = self.equal.const(value.term) if isinstance(value.term, Symbol) else None
            if const is not None:
                found.add(Fact("equal", Symbol(self.lineage, name), const))
        for fact in self.rows.facts:
            left = fact.left if isinstance(fact.left, Symbol) else None
            for name in self.names(left):
                if isinstance(fact.right, Symbol):
                    found |= {
                        Fact(fact.what, Symbol(self.lineage, name), Symbol(self.lineage, o))
                        for o in self.names(fact.right)
                    }
                else:
                    found.add(Fact(fact.what, Symbol(self.lineage, name), fact.right))
        return frozenset(found)

    def mask(self, mask: Mask) -> Mask:
        """The factors of a mask that belongs to the whole row: whose row is joined to the others by equality."""
        return frozenset(factor for factor in mask if self._is_of_row(factor))

    def _is_of_row(self, factor: Factor) -> bool:
        joined = factor.linked | {factor.lineage}
        lineages = {
            value.term.lineage for value in self.columns.values() if isinstance(value.term, Symbol) and value.atoms
        }
        return factor.kind == "scope" or lineages <= joined

    def is_bound(self, factor: Factor) -> bool:
        return bool(self._owners) and self._owners <= factor.bound


def _either(values: Sequence[Value], branches: Sequence[_Branch], symbol: Symbol) -> Value:
    given = [value for value in values if not value.is_null]
    roles = union(value.roles for value in given) if all(value.roles for value in given) else frozenset[Column]()
    consts = {value.term for value in given}
    const = next(iter(consts)) if len(consts) == 1 else None
    return Value(
        term=const if isinstance(const, Const) and len(given) == len(values) else symbol,
        is_null=not given,
        roles=roles,
        mask=_mask(values, branches, symbol.lineage),
        is_zero=all(value.is_zero for value in values),
        is_count=all(value.is_count for value in values),
        strict=frozenset({symbol.lineage}),
        atoms=union(branch.atoms(value.atoms) for value, branch in zip(values, branches, strict=True)),
        direct=stronger(union(value.direct for value in values), "copy"),
        indirect=union(value.indirect for value in values),
    )


def _mask(values: Sequence[Value], branches: Sequence[_Branch], lineage: int) -> Mask | None:
    """The factors that every branch has: a branch in which the mask is 0 or empty permits nothing."""
    masks = [
        (branch.mask(value.mask or frozenset()), branch)
        for value, branch in zip(values, branches, strict=True)
        if not (value.is_zero or value.is_null)
    ]
    if not masks:
        return None
    found = []
    for kind in _KINDS:
        each = [[factor for factor in mask if factor.kind == kind] for mask, _ in masks]
        if not all(each):
            continue
        bound = all(branch.is_bound(factors[0]) for factors, (_, branch) in zip(each, masks, strict=True))
        evidence = frozenset.intersection(*(factor.evidence for factors in each for factor in factors))
        here = frozenset({lineage})
        found.append(
            Factor(kind, lineage, evidence, linked=here, riders=here, bound=here if bound else frozenset())  # type: ignore[arg-type]
        )
    return frozenset(found) or None
