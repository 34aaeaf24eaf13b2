"""What tables of counts owe, and what leaves to destinations: codes and counts of groups, reviewed; members of the very
segment that a row names, reviewed.

Not here: marts (`segments.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestration.policy.schema import Reclassification
from orchestration.proof.analysis import MART, MARTS, Analysis
from orchestration.proof.atoms import AUDIENCE_KEY, INNER
from orchestration.proof.domain import Atom, Column, Const, Rows, Symbol, Term, Value
from orchestration.proof.facts import SEGMENT, Closure, is_key
from orchestration.proof.obligations import Obligation
from orchestration.proof.sources import is_personal
from orchestration.proof.verdict import Failure
from orchestration.proof.words import path_to

COUNT, CODE = "count", "code"
PERSON, CONTACT, DESTINATION = "person_key", "contact_token", "destination"
EXPORTED = "intermediate.int_activations_decided"  # the one relation that exports read (exports/audience.py)
_DECLARE = "Declare it in reclassifications.yaml with a reason, who reviewed it and until when"


def of_counts(name: str, analysis: Analysis) -> Iterator[Obligation]:
    """A governance table: each row is a group, each column a code of policy, a reviewed one, or a count."""
    one = analysis.reviewed.get(name)
    reviewed = one is not None and one.kind == "aggregate"
    what = f"{name} is reviewed as an aggregate"
    said = f"{name} counts people whom no purpose permits to use, and nobody reviewed it"
    yield Obligation(what, None if reviewed else Failure(said, (name,), _DECLARE))
    rows = analysis.told[name]
    if not rows.is_grouped:
        said = f"{name} shows single rows: it is no GROUP BY, nor a union of such"
        yield Obligation("rows are groups", Failure(said, (name,), "Group its rows and count them"))
    yield from _grouped(name, one, analysis)
    for column, value in rows.columns.items():
        yield _told(name, column, value, one, analysis)


def _grouped(name: str, one: Reclassification | None, analysis: Analysis) -> Iterator[Obligation]:
    """Each key of its groups is a code of policy, or a reviewed column: a group by person is a person."""
    rows = analysis.told[name]
    shows = () if one is None else one.shows
    columns = [rows.columns[column].direct for column in shows if column in rows.columns]
    shown = frozenset(origin for direct in columns for column, _ in direct for origin in analysis.direct(column))
    for key in sorted(rows.keys, key=sorted):
        origins = frozenset(origin for column in key for origin in analysis.direct(column))
        personal = sorted(c for c in origins - shown if _is_own_value(c, analysis))
        what = f"groups are by {', '.join(column.name for column in sorted(key)) or 'a constant'}"
        said = f"{name} has a group for each {', '.join('.'.join(c) for c in personal[:3])}: few rows, or one person's"
        remedy = "Group by codes of policy, or have the column reviewed in `shows:`"
        yield Obligation(what, Failure(said, (".".join(personal[0]), name), remedy) if personal else None)


def _told(name: str, column: str, value: Value, one: Reclassification | None, analysis: Analysis) -> Obligation:
    meta: Mapping[str, Any] = analysis.project[name].column_meta.get(column, {})
    what = f"column {column} is a {meta.get('category', 'declared')}"
    if meta.get("category") == COUNT:
        if value.is_count:
            return Obligation(what)
        said = f"{name}.{column} is declared a count, and is something else of the rows it is made from"
        return Obligation(
            what, Failure(said, _path(name, column, value, analysis), "Write count(*), or a sum of counts")
        )
    if meta.get("category") != CODE:
        remedy = "Declare its category, count or code, in _governance__models.yml"
        return Obligation(what, Failure(f"{name}.{column} has no category", (name,), remedy))
    if any(how == "aggregate" for _, how in value.direct):
        said = f"{name}.{column} is declared a code, and is an aggregate: it tells something of single rows"
        return Obligation(what, Failure(said, _path(name, column, value, analysis), "Group by it, or count"))
    personal = sorted(c for c in _direct(value, analysis) if _is_own_value(c, analysis))
    known = [c for c in personal if analysis.identifies(c)]
    if known:
        said = f"{name}.{column} shows {'.'.join(known[0])}, by which a person is known"
        return Obligation(what, Failure(said, (".".join(known[0]), f"{name}.{column} tells it"), "Remove it, or count"))
    if not personal or (one is not None and column in one.shows):
        return Obligation(what)
    said = f"{name}.{column} shows values of {', '.join('.'.join(c) for c in personal[:3])}, and was not reviewed to"
    remedy = f"Show a code of policy instead, or add {column} to its `shows:` in reclassifications.yaml"
    return Obligation(what, Failure(said, _path(name, column, value, analysis), remedy))


def of_deliveries(name: str, analysis: Analysis) -> Iterator[Obligation]:
    """What exports read: each row is a member of the very segment that it names, and shows what was reviewed."""
    one = analysis.reviewed.get(name)
    is_reviewed = one is not None and one.kind == "delivery"
    said = f"{name} is read by exports, and nobody reviewed it"
    yield Obligation(f"{name} is reviewed as a delivery", None if is_reviewed else Failure(said, (name,), _DECLARE))
    delivered = Delivered(name, analysis)
    yield delivered.members()
    yield from delivered.of_the_same_person()
    yield delivered.destination()
    for column in () if one is None else one.shows:
        yield _delivered(name, column, analysis)


@dataclass(frozen=True)
class Delivered:
    """The rows that exports read: whose they are, and of which segment."""

    name: str
    analysis: Analysis

    @property
    def rows(self) -> Rows:
        return self.analysis.told[self.name]

    @cached_property
    def closure(self) -> Closure:
        """What is equal in every row, or where there is something to show."""
        return Closure.of(self.rows.facts | frozenset(fact for _, fact in self.rows.pending))

    def members(self) -> Obligation:
        optional = frozenset(lineage for when, _ in self.rows.pending for lineage in when)
        atoms = [atom for atom in self.rows.atoms if atom.source.startswith(MART) and atom.lineage is not None]
        members = [atom for atom in atoms if INNER in atom.guards and atom.lineage not in optional]
        wrong = [atom for atom in members if not self._is_of_segment(atom)]
        what = f"every row of {self.name} is a member of the segment that it names"
        if members and not wrong:
            return Obligation(what)
        source = (wrong or atoms or [Atom(self.name, None, is_own=False)])[0].source
        said = f"{self.name} has rows of people who need not be members of the segment that the row names"
        remedy = "Join each segment's mart under its own name, by segment and audience_key, and keep the members only"
        return Obligation(what, Failure(said, path_to(self.name, source, self.analysis), remedy))

    def of_the_same_person(self) -> Iterator[Obligation]:
        """The person, the audience key and the contact of a row are one person's."""
        for column in (AUDIENCE_KEY, CONTACT):
            what = f"{column} is that of the row's person"
            said = f"{self.name}.{column} need not be that of the person whom the row is about"
            path = (f"{self.name}.{column}", f"nothing holds its {PERSON} to that of the row")
            yield Obligation(what, None if self._is_of_person(column) else Failure(said, path, f"Join it on {PERSON}"))

    def destination(self) -> Obligation:
        """Where policy lets the row's own segment be delivered."""
        value, segment = self.rows.columns.get(DESTINATION), self._term(SEGMENT)
        term = None if value is None else value.term
        listed = value is not None and value.roles == {Column("policy.segment_destinations", DESTINATION)}
        held = listed and isinstance(term, Symbol) and segment is not None
        is_own = held and self.closure.same(Symbol(term.lineage, SEGMENT), segment)  # type: ignore[union-attr, arg-type]
        what = f"every row of {self.name} goes where policy lets its segment go"
        said = f"{self.name} has rows for destinations that policy does not name for their segment"
        path = ("policy.segment_destinations", f"{self.name} does not hold it to the row's segment")
        return Obligation(what, None if is_own else Failure(said, path, "Join segment_destinations on the segment"))

    def _is_of_segment(self, atom: Atom) -> bool:
        """Is the mart that of the segment which the row names, and the member the one whose key it shows?"""
        own = Const("text", atom.source.removeprefix(f"{MART}{MARTS}."))
        segment, key = self._term(SEGMENT), self._term(AUDIENCE_KEY)
        if segment is None or key is None or atom.lineage is None:
            return False
        is_key = self.closure.same(Symbol(atom.lineage, AUDIENCE_KEY), key)
        return is_key and any(
            guard.what == "branch" and guard.value == own and isinstance(guard.of, Symbol)
            and self.closure.same(guard.of, segment)
            for guard in atom.guards
        )  # fmt: skip

    def _is_of_person(self, column: str) -> bool:
        shown, person = self._term(column), self._term(PERSON)
        return (
            person is not None
            and isinstance(shown, Symbol)
            and any(
                isinstance(key, Symbol)
                and key.lineage == shown.lineage
                and is_key(key, {PERSON})
                and self.closure.same(key, person)
                for key in self.closure.parents
            )
        )

    def _term(self, column: str) -> Term | None:
        value = self.rows.columns.get(column)
        return None if value is None else value.term


def _delivered(name: str, column: str, analysis: Analysis) -> Obligation:
    """A column that goes out: of a mart, of what was reviewed to be shown, or the contact itself."""
    what = f"{name}.{column} comes from a mart, or is where to reach the person"
    value = analysis.told[name].columns.get(column)
    if value is None:
        return Obligation(what, Failure(f"{name}.{column} is not there", (name,), "Remove it from `shows:`"))
    wrong = sorted(
        c for c in _direct(value, analysis) if is_personal(c.relation) and not _goes_out(c, column, analysis)
    )
    if not wrong:
        return Obligation(what)
    said = f"{name}.{column} shows {'.'.join(wrong[0])}, which is of no mart and no contact"
    return Obligation(
        what, Failure(said, (".".join(wrong[0]), f"{name}.{column} shows it"), "Take it from the segment's mart")
    )


def _goes_out(origin: Column, column: str, analysis: Analysis) -> bool:
    if origin.relation.startswith(f"{MARTS}."):
        return True
    if origin.relation in analysis.reviewed:
        return origin.name in analysis.reviewed[origin.relation].shows
    return column == CONTACT and origin.name == "token"


def _direct(value: Value, analysis: Analysis) -> frozenset[Column]:
    return frozenset().union(*(analysis.direct(column) for column, _ in value.direct))


def _is_own_value(column: Column, analysis: Analysis) -> bool:
    """Does a column hold something of people, rather than a code of policy?"""
    return is_personal(column.relation) and not (column.relation in analysis.reviewed and column.name == SEGMENT)


def _path(name: str, column: str, value: Value, analysis: Analysis) -> tuple[str, ...]:
    origins = sorted(_direct(value, analysis))
    return (*(".".join(origin) for origin in origins[:1]), f"{name}.{column} tells it")
