"""What facts about the rows of one SELECT add up to: whose a mask is, which guards an atom has passed.

The gate is found here, by its shape: a row of touchpoints has passed it where a mask is not 0 of which one bound is the
scopes that the consent of this touchpoint's own subject admits at its own time, and another the scopes that retention
keeps for its own category and age. Not here: where the facts come from (`predicates.py`, `blocks.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from orchestration.proof.atoms import (
    ABSENT,
    AS_OF,
    AS_OF_COLUMN,
    AUDIENCE_KEY,
    CATEGORY,
    CONSENTS,
    CONTROLLER,
    HOLDER,
    IDENTITY,
    INNER,
    KEYED,
    NOW,
    ORDINARY,
    PERMIT,
    RETENTION_DAYS,
    SCOPE_BIT,
    SENSITIVE,
    SINCE,
    SUBJECT,
    TIME,
    TOKEN,
    is_cut,
    is_touchpoint,
)
from orchestration.proof.domain import (
    CONSENT,
    RETENTION,
    Atom,
    Column,
    Const,
    Fact,
    Factor,
    Facts,
    Guard,
    Symbol,
    Term,
    Value,
)
from orchestration.proof.facts import Closure, is_key


@dataclass(frozen=True)
class Knowledge:
    """Everything known of the rows of one SELECT: facts, values by symbol, and which lineages one read brought."""

    facts: Facts
    pending: frozenset[tuple[frozenset[int], Fact]]
    known: Mapping[Symbol, Value]
    consents: frozenset[Atom]  # on which it depends which rows there are
    reads: tuple[frozenset[int], ...]
    owners: frozenset[int]  # lineages with touchpoints of their own
    anchors: frozenset[int]
    keys: Mapping[str, str]  # cut relation → the column that says whose its rows are

    @cached_property
    def everywhere(self) -> Closure:
        return Closure.of(self.facts)

    @cached_property
    def maybe(self) -> Facts:
        """What holds where every optional row is there."""
        return self.facts | frozenset(fact for _, fact in self.pending)

    @cached_property
    def matched(self) -> Closure:
        return Closure.of(self.maybe) if self.pending else self.everywhere

    @cached_property
    def optional(self) -> frozenset[int]:
        """The lineages that a row may lack."""
        return frozenset(lineage for when, _ in self.pending for lineage in when)

    def atoms(self, atoms: frozenset[Atom]) -> frozenset[Atom]:
        """The atoms with every guard that they have passed."""
        if atoms not in self._met:
            self._met[atoms] = frozenset(self._guarded(atom) for atom in atoms)
        return self._met[atoms]

    @cached_property
    def _met(self) -> dict[frozenset[Atom], frozenset[Atom]]:
        """What was asked for: most columns of a table have the same."""
        return {}

    def mask(self, mask: frozenset[Factor]) -> frozenset[Factor]:
        """The factors of a mask, and whose they are."""
        return frozenset(self._bound(factor) for factor in mask)

    def evidence(self, factor: Factor) -> Factor:
        """A scope's mask in a row that a consent admits, or that is young enough to be kept."""
        found = set(factor.evidence)
        for fact in self.facts:
            if self._admits(fact, factor):
                found.add(CONSENT)
            if self._keeps(fact, factor):
                found.add(RETENTION)
        return factor._replace(evidence=frozenset(found))

    def _admits(self, fact: Fact, factor: Factor) -> bool:
        """Is it that a consent to this very scope has no reason against it?"""
        if fact.what != "null" or not isinstance(fact.left, Symbol) or fact.left not in self.known:
            return False
        is_consent = any(atom.source == CONSENTS for atom in self.known[fact.left].atoms)
        of_scope = is_consent and self._is_of_scope(fact.left.lineage, factor.lineage)
        return of_scope and self._is_in_force(factor, self._row_of(fact.left.lineage))

    def _keeps(self, fact: Fact, factor: Factor) -> bool:
        """Is it that this very scope keeps rows of the category and controller beside it for at least their age?"""
        if fact.what != "less" or not isinstance(fact.right, Symbol) or fact.right.lineage != factor.lineage:
            return False
        return self.known[fact.right].roles == {RETENTION_DAYS} and all(
            any(
                self.everywhere.same(mine, other)
                for mine, value in self.known.items()
                if mine.lineage == factor.lineage and value.roles == {role}
                for other, theirs in self.known.items()
                if other.lineage != factor.lineage and theirs.roles == {role}
            )
            for role in (CATEGORY, CONTROLLER)
        )

    def _is_of_scope(self, lineage: int, scope: int) -> bool:
        bits = [s for s, value in self.known.items() if value.roles == {SCOPE_BIT}]
        return any(
            self.everywhere.same(mine, theirs)
            for mine in bits
            if mine.lineage in self._row_of(lineage)
            for theirs in bits
            if theirs.lineage == scope
        )

    def _row_of(self, lineage: int) -> frozenset[int]:
        """The lineages that one read of a table brought with this one: its row is made of theirs."""
        return next((read for read in self.reads if lineage in read), frozenset({lineage}))

    def _is_in_force(self, factor: Factor, row: frozenset[int]) -> bool:
        """Is there a consent to this scope, of the same person, that is in force now, whatever held before?"""
        bits = [s for s, value in self.known.items() if s.lineage == factor.lineage and value.roles == {SCOPE_BIT}]
        return any(
            guard.what == NOW and guard.value is not None and self.everywhere.same(guard.value, bit)
            for atom in self.consents
            if atom.lineage not in self.optional and self._is_of_same(row, self._row_of(atom.lineage or 0))
            for guard in self._at_now(atom)
            for bit in bits
        )

    def _is_of_same(self, row: frozenset[int], other: frozenset[int]) -> bool:
        """Are two rows one, or joined by more than their scope?"""
        return row == other or any(
            self.everywhere.same(mine, theirs)
            for mine, value in self.known.items()
            if mine.lineage in row and value.roles != {SCOPE_BIT}
            for theirs in self.known
            if theirs.lineage in other and self.known[theirs].roles != {SCOPE_BIT}
        )

    def _at_now(self, atom: Atom) -> frozenset[Guard]:
        """NOW, and for which scope, where a consent without a reason against it holds from before T to after it."""
        here = self._row_of(atom.lineage or 0)
        mine = {symbol for symbol in self.known if symbol.lineage in here}
        has_none = any(fact.what == "null" and fact.left in mine for fact in self.facts)
        less = [(fact.left, fact.right) for fact in self.facts if fact.what == "less"]
        begins = any(low in mine and self._is_as_of(high) for low, high in less)
        ends = any(high in mine and self._is_as_of(low) for low, high in less)
        bits = {Guard(NOW, s) for s in mine if self.known[s].roles == {SCOPE_BIT}}
        return atom.guards | (bits if has_none and begins and ends else frozenset())

    def _is_as_of(self, term: object) -> bool:
        if isinstance(term, Symbol):
            return term in self.known and self.known[term].roles == {AS_OF_COLUMN}
        return term == AS_OF

    @cached_property
    def permits(self) -> dict[int, frozenset[Guard]]:
        """Lineage → the guards that a mask which is not 0 gives it."""
        found: dict[int, frozenset[Guard]] = {}
        for fact in self.facts:
            if fact.what != "nonzero" or not isinstance(fact.left, frozenset):
                continue
            factors = self.mask(fact.left)
            consents = [factor for factor in factors if factor.kind == CONSENT]
            kept = frozenset().union(*(factor.bound for factor in factors if factor.kind == RETENTION))
            guards = frozenset({PERMIT}).union(*(_scope_guards(f) for f in factors if f.kind != CONSENT))
            for factor in consents:
                for owner in factor.bound & kept:
                    for lineage in {owner, *factor.riders}:
                        found[lineage] = found.get(lineage, frozenset()) | guards
        return found

    def _guarded(self, atom: Atom) -> Atom:
        guards = atom.guards
        if atom.lineage is not None:
            if is_cut(atom.source):
                guards = guards | self._cut_guards(atom) if atom.is_own else guards
            elif atom.is_own or not is_touchpoint(atom.source):
                guards = guards | self.permits.get(atom.lineage, frozenset())
            if atom.source == CONSENTS:
                guards = guards | self._at_now(atom)
            if atom.is_own and is_touchpoint(atom.source):
                guards = guards | self._since(atom.lineage)
        if not guards:
            return atom
        resolved = frozenset(guard for one in guards for guard in self._resolved(one))
        return atom._replace(guards=resolved) if resolved != atom.guards else atom

    def _since(self, owner: int) -> frozenset[Guard]:
        """From when on touchpoints are read, where it is told from T."""
        times = {symbol for symbol, value in self._own(owner) if _all_are(value, TIME)}
        return frozenset(
            Guard(SINCE, fact.left)
            for fact in self.facts
            if fact.what == "less" and fact.right in times and isinstance(fact.left, Const)
        )

    def _resolved(self, guard: Guard) -> Iterator[Guard]:
        if not isinstance(guard.value, Symbol):
            yield guard
            if guard.what == "category" and guard.value not in (None, SENSITIVE):
                yield ORDINARY
            return
        const = self.everywhere.const(guard.value)
        yield guard if const is None or guard.what == "branch" else guard._replace(value=const)
        is_ordinary = self.everywhere.find(guard.value) in self.ordinary or (const is not None and const != SENSITIVE)
        if guard.what == "category" and is_ordinary:
            yield ORDINARY

    @cached_property
    def ordinary(self) -> frozenset[Term]:
        """The values, one for all that are equal, that are not the sensitive category."""
        return frozenset(
            self.everywhere.find(fact.left)
            for fact in self.facts
            if isinstance(fact.left, Symbol)
            and ((fact.what == "unequal" and fact.right == SENSITIVE)
                 or (fact.what == "among" and isinstance(fact.right, frozenset) and SENSITIVE not in fact.right))
        )  # fmt: skip

    def _cut_guards(self, atom: Atom) -> frozenset[Guard]:
        """Of a reviewed relation: what its rows are held to, whether they are this person's, whether one must be."""
        lineage = atom.lineage
        assert lineage is not None
        found = {INNER} if Fact("present", lineage) in self.facts else set()
        key = Symbol(lineage, self.keys.get(atom.source, ""))
        if any(self._is_of_person(term, key) for term in self.matched.classmates(key)):
            found.add(KEYED)
        if Fact("null", key) in self.facts:
            found.add(ABSENT)
        for term in self.matched.parents:
            const = self.matched.const(term)
            if isinstance(term, Symbol) and term.lineage == lineage and const is not None:
                found.add(Guard(f"pin {term.name}", const))
        return frozenset(found) | self._among(lineage)

    def _among(self, lineage: int) -> frozenset[Guard]:
        """The columns of a lineage that are held to one of several values."""
        return frozenset(
            Guard(f"pin {fact.left.name}", const)
            for fact in self.maybe
            if fact.what == "among" and isinstance(fact.left, Symbol) and fact.left.lineage == lineage
            for const in (fact.right if isinstance(fact.right, frozenset) else ())
        )

    def _is_of_person(self, term: Term, key: Symbol) -> bool:
        """Is it the key of a person whom a permitted touchpoint, or a group of them, brought? Of a mart, which shows no
        person: is it the same key of another row?"""
        value = self.known.get(term) if isinstance(term, Symbol) else None
        if value is None or not isinstance(term, Symbol) or term.lineage == key.lineage:
            return False
        if any(atom.source.startswith(IDENTITY) and PERMIT in atom.guards for atom in self.atoms_of(value)):
            return True
        return is_key(term, {key.name}) and (term.lineage in self.anchors or key.name == AUDIENCE_KEY)

    def atoms_of(self, value: Value) -> frozenset[Atom]:
        return frozenset(
            atom._replace(guards=atom.guards | self.permits.get(atom.lineage or 0, frozenset()))
            for atom in value.atoms
            if not is_cut(atom.source)
        )

    def _bound(self, factor: Factor) -> Factor:
        """The factor, with the lineages joined to it, and the touchpoints of which it is the mask."""
        if factor.kind not in (CONSENT, RETENTION):
            return factor
        if not self.owners:
            return factor._replace(linked=factor.linked | self.everywhere.linked(factor.lineage))
        side = factor.linked | {factor.lineage}
        riders = factor.riders or next((read for read in self.reads if factor.lineage in read), side)
        test = self._is_of_subject if factor.kind == CONSENT else self._is_of_category
        bound = frozenset(owner for owner in self.owners if test(owner, side) and self._is_of_time(owner, side))
        factor = factor._replace(linked=side, riders=riders, bound=factor.bound | bound)
        if factor.kind == RETENTION and len(bound) == 1:
            (owner,) = bound
            category, controller = (self._same_as(owner, side, role) for role in (CATEGORY, CONTROLLER))
            factor = factor._replace(category=category, controller=controller)
        return factor

    def _is_of_subject(self, owner: int, side: frozenset[int]) -> bool:
        """Is it by this touchpoint's own identifier, with its own controller?"""
        return all(
            any(
                self.matched.same(mine, theirs)
                for mine, value in self._own(owner)
                if _all_are(value, name)
                for theirs, other in self.known.items()
                if theirs.lineage in side and other.roles == {role}
            )
            for name, role in ((SUBJECT, TOKEN), ("controller", HOLDER))
        )

    def _is_of_category(self, owner: int, side: frozenset[int]) -> bool:
        return all(self._same_as(owner, side, role) is not None for role in (CATEGORY, CONTROLLER))

    def _same_as(self, owner: int, side: frozenset[int], role: Column) -> Symbol | None:
        """The touchpoint's own value that equals the one of this role on the mask's side."""
        roles = [s for s, value in self.known.items() if s.lineage in side and value.roles == {role}]
        owned = (own for own, _ in self._own(owner))
        return next((own for own in owned if any(self.matched.same(symbol, own) for symbol in roles)), None)

    def _is_of_time(self, owner: int, side: frozenset[int]) -> bool:
        """Does the interval hold the touchpoint's own time: from <= time and time < to?"""
        times = {symbol for symbol, value in self._own(owner) if _all_are(value, TIME)}
        less = [(fact.left, fact.right) for fact in self.maybe if fact.what == "less"]
        after = any(high in times and isinstance(low, Symbol) and low.lineage in side for low, high in less)
        before = any(low in times and isinstance(high, Symbol) and high.lineage in side for low, high in less)
        return after and before

    def _own(self, owner: int) -> Iterator[tuple[Symbol, Value]]:
        return ((symbol, value) for symbol, value in self.known.items() if symbol.lineage == owner)


def _all_are(value: Value, name: str) -> bool:
    """A column copied from the touchpoints' column of that name, whichever their source."""
    return bool(value.roles) and all(is_touchpoint(role.relation) and role.name == name for role in value.roles)


def _scope_guards(factor: Factor) -> frozenset[Guard]:
    terms = {"purpose": factor.purpose, "controller": factor.controller, "category": factor.category}
    return frozenset(Guard(what, term) for what, term in terms.items() if term is not None)
