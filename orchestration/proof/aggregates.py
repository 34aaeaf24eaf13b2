"""What tables of counts owe, and what leaves to destinations: codes and counts of groups, reviewed; members of the very
segment that a row names, reviewed.

Not here: marts (`segments.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestration.policy.schema import Reclassification
from orchestration.proof.analysis import MART, MARTS, Analysis
from orchestration.proof.atoms import INNER
from orchestration.proof.domain import Atom, Column, Const, Symbol, Value
from orchestration.proof.facts import Closure
from orchestration.proof.obligations import Obligation
from orchestration.proof.sources import is_personal
from orchestration.proof.verdict import Failure
from orchestration.proof.words import path_to

COUNT, CODE = "count", "code"
SEGMENT = "segment"
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
    one, rows = analysis.reviewed.get(name), analysis.told[name]
    is_reviewed = one is not None and one.kind == "delivery"
    said = f"{name} is read by exports, and nobody reviewed it"
    yield Obligation(f"{name} is reviewed as a delivery", None if is_reviewed else Failure(said, (name,), _DECLARE))
    optional = frozenset(lineage for when, _ in rows.pending for lineage in when)
    segment = rows.columns.get(SEGMENT)
    atoms = [atom for atom in rows.atoms if atom.source.startswith(MART) and atom.lineage is not None]
    members = [atom for atom in atoms if {INNER} <= atom.guards and atom.lineage not in optional]
    closure = Closure.of(rows.facts)
    what = f"every row of {name} is a member of the segment that it names"
    held = segment is not None and bool(members)
    wrong = [atom for atom in members if not _is_of_segment(atom, segment, closure)]
    if held and not wrong:
        yield Obligation(what)
    else:
        source = (wrong or atoms or [Atom(name, None, is_own=False)])[0].source
        said = f"{name} has rows of people who need not be members of the segment that the row names"
        remedy = "Join each segment's mart under its own name, by segment and audience_key, and keep the members only"
        yield Obligation(what, Failure(said, path_to(name, source, analysis), remedy))
    for column in () if one is None else one.shows:
        yield _delivered(name, column, analysis)


def _is_of_segment(atom: Atom, segment: Value | None, closure: Closure) -> bool:
    """Is the mart that of the segment which the row names?"""
    own = Const("text", atom.source.removeprefix(f"{MART}{MARTS}."))
    term = None if segment is None else segment.term
    return term is not None and any(
        guard.what == "branch" and guard.value == own and isinstance(guard.of, Symbol) and closure.same(guard.of, term)
        for guard in atom.guards
    )


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
    return column == "contact_token" and origin.name == "token"


def _direct(value: Value, analysis: Analysis) -> frozenset[Column]:
    return frozenset().union(*(analysis.direct(column) for column, _ in value.direct))


def _is_own_value(column: Column, analysis: Analysis) -> bool:
    """Does a column hold something of people, rather than a code of policy?"""
    return is_personal(column.relation) and not (column.relation in analysis.reviewed and column.name == SEGMENT)


def _path(name: str, column: str, value: Value, analysis: Analysis) -> tuple[str, ...]:
    origins = sorted(_direct(value, analysis))
    return (*(".".join(origin) for origin in origins[:1]), f"{name}.{column} tells it")
