"""An obligation of the static proof, and those that every exposed relation has: that its SQL is understood, that it
reads what dbt knows of, that nothing is chosen before the gate, and that whatever is personal on its way ends by a
rule.

Not here: what a segment owes (`segments.py`), and what tables of counts owe (`aggregates.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from orchestration.policy.schema import Reclassification
from orchestration.proof.analysis import STAGING, Analysis
from orchestration.proof.sources import is_personal
from orchestration.proof.verdict import Failure, Verdict
from orchestration.retention.places import RETENTION, Place

_KEPT_NOWHERE = ("view", "ephemeral")  # a query, not rows


@dataclass(frozen=True)
class Obligation:
    """Something that must hold, and what shows that it does not."""

    what: str
    failure: Failure | None = None


def verdict(relation: str, purpose: str | None, obligations: Iterator[Obligation]) -> Verdict:
    """What the obligations of one exposed relation come to."""
    owed = list(obligations)
    failures = tuple(dict.fromkeys(one.failure for one in owed if one.failure is not None))
    discharged = sum(one.failure is None for one in owed)
    return Verdict("static", relation, purpose, len(owed), discharged, failures)


def readable(name: str, analysis: Analysis) -> Iterator[Obligation]:
    """Every model on the way is understood, and reads models and sources only."""
    for one in sorted(analysis.above(name)):
        if one not in analysis.queries:
            continue
        found = analysis.queries[one].unresolved
        for unresolved in found:
            what = f"{one} has {unresolved.construct}: nothing can be said of what it reads"
            way = (one, *_way(one, name, analysis))
            yield Obligation(f"{one} is understood", Failure(what, way, unresolved.remedy))
        if not found:
            yield Obligation(f"{one} is understood")


def only_renamed(name: str, analysis: Analysis) -> Iterator[Obligation]:
    """Staging on the way leaves out no touchpoint and chooses no value: what decided it would be told of nowhere."""
    for one in sorted(analysis.above(name)):
        if analysis.project[one].layer != STAGING:
            continue
        rows = analysis.rows(one)
        chosen = sorted(column for column, value in rows.columns.items() if value.indirect)
        what = f"{one} renames, casts and computes only"
        said = f"{one} chooses {', '.join(chosen) or 'among touchpoints'} by a condition, before the gate"
        if not chosen and not rows.influences:
            yield Obligation(what)
            continue
        remedy = "Keep every touchpoint and its fields as they are; choose among them in the segment's model"
        yield Obligation(what, Failure(said, (one, *_way(one, name, analysis)), remedy))


def _way(start: str, name: str, analysis: Analysis) -> tuple[str, ...]:
    """The models that lead from one to the exposed one, by the shortest way."""
    waiting: list[tuple[str, ...]] = [(name,)]
    seen = {name}
    while waiting:
        way = waiting.pop(0)
        if way[0] == start:
            return tuple(f"{two} reads {one}" for one, two in pairwise(way))
        for read in analysis.project[way[0]].reads:
            if read not in seen:
                seen.add(read)
                waiting.append((read, *way))
    return ()


@dataclass(frozen=True)
class Endings:
    """Which tables and columns of a warehouse the inventory of places covers, and whether a rule ends them."""

    place: Place | None

    @classmethod
    def of(cls, analysis: Analysis) -> Endings:
        places = [place for place in analysis.places if place.retention in RETENTION]
        return cls(places[0] if places else None)

    def obligations(self, name: str, analysis: Analysis) -> Iterator[Obligation]:
        """Every personal relation on the way is kept by a rule, column by column."""
        tables = {} if self.place is None else self.place.tables or {}
        for one in sorted(analysis.above(name)):
            if not is_personal(one) or analysis.project[one].materialized in _KEPT_NOWHERE:
                continue
            columns = set(analysis.rows(one).columns)
            missing = sorted(columns - tables.get(one, frozenset())) if one in tables else ["the table"]
            what = f"{one} ends by a rule"
            if not missing:
                yield Obligation(what)
                continue
            said = f"no rule says what ends {one} ({', '.join(missing)})"
            remedy = "Declare the table and its columns in retention/places.yaml, or do not keep them"
            yield Obligation(what, Failure(said, (one, *_way(one, name, analysis)), remedy))


def in_force(one: Reclassification, path: tuple[str, ...], as_of: date) -> Obligation:
    """A review that has not expired."""
    what = f"the review of {one.relation} is in force"
    if as_of <= one.expires:
        return Obligation(what)
    said = f"the review of {one.relation} ({one.kind}) expired on {one.expires}"
    remedy = f"Review it again ({one.reviewed_by} did), and write a later `expires:` in reclassifications.yaml"
    return Obligation(what, Failure(said, path, remedy))
