"""Answers of lineage, as data: what a column is made of and who decides on it, and where a field goes and for what
purpose. Not here: finding a column by what was typed (`names.py`), and writing an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from orchestration.proof.lineage.edges import ROWS, Column
from orchestration.proof.lineage.facts import Facts, Kind
from orchestration.proof.lineage.graph import End, Lineage


@dataclass(frozen=True)
class Told:
    """One end, with what the policy says of it. `path` holds the steps `source how target`."""

    column: str
    relation: str
    kind: Kind
    category: str | None
    verb: str | None  # at the door, of a source's field
    stage: str | None
    verbs: tuple[str, ...]
    gates: tuple[str, ...]
    around: str | None  # a reviewed relation by which some way goes around the gates
    is_gated: bool  # whether every way passes a gate, a reviewed relation or a record of consent, or need not
    purposes: tuple[str, ...]
    destination: str | None
    path: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Origins:
    """What a column is made of, and what decides on it."""

    column: str
    purposes: tuple[str, ...]
    destination: str | None
    category: str | None
    made_of: tuple[Told, ...]
    decided_by: tuple[Told, ...]


@dataclass(frozen=True)
class Goes:
    """Where a field goes as a value, where it decides who is there, and what of it is kept aside."""

    column: str
    category: str | None
    verb: str | None
    stage: str | None
    purposes: tuple[str, ...]  # of all that it reaches
    goes_to: tuple[Told, ...]
    decides: tuple[Told, ...]
    kept: tuple[Told, ...]


def origins_of(lineage: Lineage, facts: Facts, column: Column) -> Origins:
    ends = lineage.back(column)
    return Origins(
        str(column),
        facts.purposes(column.relation),
        _destination(facts, column.relation),
        facts.category(column),
        made_of=tuple(_told(facts, end, is_origin=True) for end in ends if end.is_direct),
        decided_by=tuple(_told(facts, end, is_origin=True) for end in ends if not end.is_direct),
    )


def goes_of(lineage: Lineage, facts: Facts, column: Column) -> Goes:
    """Of one field; of a whole feed where the column is its rows."""
    whole = [Column(column.relation, name) for name in lineage.relations.get(column.relation, ())]
    ends = lineage.forward(*(whole if column.name == ROWS else [column]))
    told = [(_told(facts, end), end) for end in ends]
    shown = [(one, end) for one, end in told if one.kind in ("segment", "governance", "file")]
    by_value = tuple(one for one, end in shown if end.is_direct)
    valued = {_way(one) for one in by_value}
    rule = facts.rule(column)
    return Goes(
        str(column),
        facts.category(column),
        rule.verb if rule else None,
        rule.stage if rule else None,
        purposes=tuple(sorted({purpose for one, _ in shown for purpose in one.purposes})),
        goes_to=by_value,
        decides=_by_relation(one for one, end in shown if not end.is_direct and _way(one) not in valued),
        kept=tuple(one for one, _ in told if one.kind in ("kept", "stored")),
    )


def _way(one: Told) -> tuple[object, ...]:
    """By what it passes to where it goes: another way there is told beside."""
    return one.relation, one.gates, one.around, one.is_gated


def _by_relation(told: Iterable[Told]) -> tuple[Told, ...]:
    """One of each relation: what decides which rows there are decides on each of its columns. The one that passes by
    the least, so that no way around a gate is left out."""
    found: dict[str, Told] = {}
    for one in sorted(told, key=lambda one: (one.is_gated, len(one.gates), len(one.path), one.column)):
        found.setdefault(one.relation, one)
    return tuple(found[relation] for relation in sorted(found))


def _told(facts: Facts, end: End, *, is_origin: bool = False) -> Told:
    column = end.column
    rule = facts.rule(column)
    return Told(
        column.relation if column.name == ROWS else str(column),
        column.relation,
        facts.kind(column, is_origin=is_origin),
        facts.category(column),
        rule.verb if rule else None,
        rule.stage if rule else None,
        facts.verbs(end.path),
        end.gates,
        end.around,
        not end.is_free or not facts.must_be_gated(end.path),
        facts.purposes(column.relation),
        _destination(facts, column.relation),
        tuple((str(edge.source), edge.how, str(edge.target)) for edge in end.path),
    )


def _destination(facts: Facts, relation: str) -> str | None:
    destination = facts.destination(relation)
    return None if destination is None else destination.name


def as_json(answer: Origins | Goes) -> dict[str, Any]:
    """The answer as `assent lineage --json` tells it."""
    return asdict(answer)
