"""What a segment's mart owes: nobody and nothing in it that its purpose may not use, by whatever path or predicate.

Not here: how the paths are found (`analysis.py`), obligations that every relation has (`obligations.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from orchestration.policy.schema import Purpose, Reclassification, Segment
from orchestration.proof.analysis import DECLARED, MART, MARTS, Analysis, atoms_by_source
from orchestration.proof.atoms import ABSENT, INNER, KEYED, ORDINARY, PERMIT, SINCE, before, is_cut, is_touchpoint
from orchestration.proof.columns import Told
from orchestration.proof.domain import Atom, Const
from orchestration.proof.obligations import Obligation
from orchestration.proof.verdict import Failure
from orchestration.proof.words import path_to

_GATE = "Read {{ segment_touchpoints() }}, which holds the gate's rows of this segment's purpose only"
_MEMBERS = "End the model with `select * from {{ segment_members('people') }}`"


@dataclass(frozen=True)
class Mart:
    """One segment's mart under proof."""

    segment: Segment
    purpose: Purpose
    analysis: Analysis
    sensitive: frozenset[str]  # the segments that may use sensitive touchpoints

    @property
    def is_sensitive(self) -> bool:
        return self.segment.name in self.sensitive

    @property
    def name(self) -> str:
        return f"{MARTS}.{self.segment.name}"

    def obligations(self) -> Iterator[Obligation]:
        """Everything that this mart owes beside being understood."""
        yield self._brought_by_touchpoints()
        yield from self._gated()
        for source, atoms in atoms_by_source(self.analysis.atoms(self.name)).items():
            if source.startswith(DECLARED):
                yield from self._reviewed(source, atoms)
            elif source.startswith(MART):
                yield self._other_mart(source, atoms)
        yield from self._needed()
        yield from self._left_out()
        yield from Told(self.name, self.segment, self.purpose, self.analysis).obligations()

    # who is in it

    def _brought_by_touchpoints(self) -> Obligation:
        rows = self.analysis.told[self.name]
        optional = frozenset(lineage for when, _ in rows.pending for lineage in when)
        what = "every row stands for a person whom a touchpoint brought"
        if rows.anchors - optional:
            return Obligation(what)
        said = f"{self.name} has rows that no permitted touchpoint brought: something else adds people"
        return Obligation(what, Failure(said, (self.name,), f"Choose people by their touchpoints. {_GATE}"))

    def _gated(self) -> Iterator[Obligation]:
        """Whatever depends on a personal table has passed the gate for this purpose."""
        sources = atoms_by_source(self.analysis.atoms(self.name))
        gated = {source: self._lacking(atoms) for source, atoms in sources.items() if not is_cut(source)}
        lacking = {source: said for source, said in gated.items() if said is not None}
        for source in gated:
            what = f"what comes from {source} passed the gate for {self.purpose.name}"
            yield Obligation(what, self._ungated(self._blamed(source, lacking), lacking) if source in lacking else None)

    def _lacking(self, atoms: list[Atom]) -> str | None:
        return next((said for atom in atoms if (said := self._lacks(atom)) is not None), None)

    def _blamed(self, source: str, lacking: Mapping[str, str]) -> str:
        """The source to speak of: consent and identity that came along with touchpoints are no second failure."""
        touched = [one for one in lacking if is_touchpoint(one)]
        if not touched or is_touchpoint(source):
            return source
        steps = path_to(self.name, source, self.analysis)[1:]
        relations = [step.split(" ")[0] for step in steps]
        came_along = any(
            one != self.name and any(is_touchpoint(atom.source) for atom in self.analysis.rows(one).atoms)
            for one in relations
        )
        return touched[0] if came_along else source

    def _ungated(self, source: str, lacking: Mapping[str, str]) -> Failure:
        said = lacking[source]
        alike = [one for one, other in lacking.items() if other == said]
        rows = [atom for atom in self.analysis.told[self.name].atoms if atom.source in alike]
        role = "decide who is in" if any(self._lacks(atom) for atom in rows) else "are told by a column of"
        what = f"rows of {', '.join(alike)} {role} {self.name} {said}"
        return Failure(what, path_to(self.name, alike[0], self.analysis), _remedy(source))

    def _lacks(self, atom: Atom) -> str | None:
        """What rows behind an atom have not passed, in words."""
        if PERMIT not in atom.guards:
            if not is_touchpoint(atom.source):
                return "outside the gate, which alone may use consent and identity"
            return "without a permit: on the way no join or filter requires that its mask of permitted scopes is not 0"
        purposes = _values(atom, "purpose")
        if self.purpose.name not in purposes:
            return f"by a permit {_whose('purpose', purposes)}, not for {self.purpose.name}"
        controllers = _values(atom, "controller")
        if self.segment.controller not in controllers:
            return f"by a permit {_whose('controller', controllers)}, not of {self.segment.controller}"
        if ORDINARY not in atom.guards and not self.is_sensitive:
            return "with sensitive touchpoints, which a segment that names nothing sensitive may not use"
        since = {g.value for g in atom.guards if g.what == SINCE}
        if is_touchpoint(atom.source) and not since & self._recent:
            return f"with touchpoints from before its lookback of {self.segment.lookback_days} days"
        return None

    @cached_property
    def _recent(self) -> frozenset[Const]:
        return frozenset(before(days) for days in range(self.segment.lookback_days + 1))

    def _other_mart(self, source: str, atoms: list[Atom]) -> Obligation:
        """Another segment's people: of the same purpose, or left out as policy says."""
        other = source.removeprefix(MART)
        what = f"the people of {other} are of this purpose, or left out"
        if self._is_alike(other) or self._leaves_out(source, atoms):
            return Obligation(what)
        said = f"{self.name} is chosen or told by the people of {other}: of another purpose, or more sensitive"
        remedy = f"Leave its people out by `excludes: [{_table(other)}]` in segments.yaml, or do not read it"
        return Obligation(what, Failure(said, path_to(self.name, source, self.analysis), remedy))

    def _is_alike(self, other: str) -> bool:
        found = next((s for s in self.analysis.policy.segments.segments if s.name == _table(other)), None)
        if found is None or (found.name in self.sensitive and not self.is_sensitive):
            return False
        return (found.purpose, found.controller) == (self.segment.purpose, self.segment.controller)

    def _leaves_out(self, source: str, atoms: list[Atom]) -> bool:
        shown = any(a.source == source for v in self.analysis.told[self.name].columns.values() for a in v.atoms)
        is_excluded = _table(source.removeprefix(MART)) in self.segment.excludes
        return is_excluded and not shown and all({ABSENT, KEYED} <= a.guards and not a.is_counted for a in atoms)

    def _left_out(self) -> Iterator[Obligation]:
        """Whoever is in a segment that this one excludes is not in this one."""
        for name in self.segment.excludes:
            source = f"{MART}{MARTS}.{name}"
            rows = [atom for atom in self.analysis.told[self.name].atoms if atom.source == source]
            what = f"the people of {name} are left out"
            if any({ABSENT, KEYED} <= atom.guards for atom in rows):
                yield Obligation(what)
                continue
            said = f"{self.name} excludes the people of {name} by policy, and its SQL keeps them"
            yield Obligation(what, Failure(said, (f"{MARTS}.{name}", f"{self.name} does not leave it out"), _MEMBERS))

    # what was reviewed

    def _reviewed(self, source: str, atoms: list[Atom]) -> Iterator[Obligation]:
        one = self.analysis.reviewed[source.removeprefix(DECLARED)]
        path = path_to(self.name, source, self.analysis)
        rows = [atom for atom in self.analysis.told[self.name].atoms if atom.source == source]
        shown = self._shown_of(source.removeprefix(DECLARED))
        values = self.analysis.told[self.name].columns.values()
        tells = {atom.lineage for value in values for atom in value.atoms if atom.source == source}
        checks = {
            f"{one.relation} only keeps people out": (
                any(atom.is_counted for atom in atoms),
                f"{self.name} counts or ranks over rows of {one.relation}, which may only keep people out",
            ),
            f"{one.relation} speaks of the same person": (
                not all(KEYED in atom.guards for atom in rows),
                f"{self.name} joins {one.relation} without its {one.key}: it speaks of other people",
            ),
            f"{one.relation} is held to this segment": (
                not all(self._is_held(atom, one, strictly=atom.lineage in tells) for atom in rows),
                f"{self.name} reads rows of {one.relation} that are not held to its own {_held_to(one)}",
            ),
            f"{one.relation} shows what was reviewed": (
                bool(shown - set(one.shows)),
                f"{self.name} shows {', '.join(sorted(shown - set(one.shows)))} of {one.relation}: reviewed was"
                f" {', '.join(one.shows) or 'that it shows nothing'}",
            ),
        }
        for what, (is_broken, said) in checks.items():
            yield Obligation(what, Failure(said, path, _MEMBERS) if is_broken else None)

    def _is_held(self, atom: Atom, one: Reclassification, *, strictly: bool) -> bool:
        held: dict[str, frozenset[str]] = {column: self._own(column, strictly=strictly) for column in one.of}
        held |= {column: frozenset({"true"}) for column in one.requires}
        given = {column: _values(atom, f"pin {column}") for column in held}
        return all(given[column] and given[column] <= own for column, own in held.items())

    def _own(self, column: str, *, strictly: bool = True) -> frozenset[str]:
        """The values that this segment may hold a reviewed relation to; to leave people out, those of others too."""
        if column == "stage":
            return frozenset(self.segment.stages)
        own = self.segment.name if column == "segment" else self.purpose.name
        if strictly or column == "segment":
            return frozenset({own})
        return frozenset({own, *(s.purpose for s in self._excluded)})

    @property
    def _excluded(self) -> list[Segment]:
        return [s for s in self.analysis.policy.segments.segments if s.name in self.segment.excludes]

    def _needed(self) -> Iterator[Obligation]:
        """What no mart of this kind may do without."""
        asked = {
            "always": True,
            "absent": self.segment.absent is not None,
            "excludes": bool(self.segment.excludes),
            "stages": bool(self.segment.stages),
        }
        for need in (need for need, is_asked in asked.items() if is_asked):
            given = [(name, one) for name, one in self.analysis.reviewed.items() if one.needed == need]
            for name, one in given:
                yield self._is_needed(name, one)
            what = f"policy says what a segment needs ({need})"
            said = f"no relation is reviewed as `needed: {need}`, so nothing keeps out whom {self.name} must not hold"
            remedy = "Declare it in reclassifications.yaml; see the shipped one"
            yield Obligation(what, None if given else Failure(said, (self.name,), remedy))

    def _is_needed(self, name: str, one: Reclassification) -> Obligation:
        rows = self.analysis.told[self.name]
        optional = frozenset(lineage for when, _ in rows.pending for lineage in when)
        held = any(
            atom.source == DECLARED + name
            and {INNER, KEYED} <= atom.guards
            and atom.lineage is not None
            and atom.lineage not in optional
            and self._is_held(atom, one, strictly=True)
            for atom in rows.atoms
        )
        what = f"every row is held to {one.relation}"
        said = f"{self.name} has people whom {one.relation} does not admit: no inner join on {one.key}"
        said += f" holds each row to it ({one.reason})"
        return Obligation(what, None if held else Failure(said, (name, f"{self.name} is not held to it"), _MEMBERS))

    def _shown_of(self, relation: str) -> set[str]:
        """The columns of a reviewed relation that this mart's columns tell."""
        columns = self.analysis.told[self.name].columns
        return {c.name for name in columns for c in self.analysis.values(self.name, name) if c.relation == relation}

    @cached_property
    def reviews(self) -> list[tuple[str, Reclassification]]:
        """The reviews on which this mart rests."""
        sources = {
            a.source.removeprefix(DECLARED) for a in self.analysis.atoms(self.name) if a.source.startswith(DECLARED)
        }
        return [(name, one) for name, one in self.analysis.reviewed.items() if name in sources]


def _held_to(one: Reclassification) -> str:
    return " and ".join((*one.of, *(f"{column} (true)" for column in one.requires)))


def _table(relation: str) -> str:
    return relation.partition(".")[2]


def _values(atom: Atom, what: str) -> frozenset[str]:
    return frozenset(g.value.value for g in atom.guards if g.what == what and isinstance(g.value, Const))


def _whose(what: str, values: frozenset[str]) -> str:
    return f"for {what} {', '.join(sorted(values))}" if values else f"of whatever {what}"


def _remedy(source: str) -> str:
    if is_touchpoint(source):
        return _GATE
    return f"Do not read {source} here. {_MEMBERS}, which asks what may be asked of consent and identity"
