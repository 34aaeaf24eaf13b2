"""The path of a counter-example in words: from where the data comes from to where it is exposed.

Not here: what is wrong with it (`segments.py`, `aggregates.py`)."""

from __future__ import annotations

from orchestration.proof.analysis import DECLARED, MART, Analysis
from orchestration.proof.query import Read

_HOW = {
    "from": "reads it",
    "inner": "joins it (every row has a match)",
    "left": "LEFT JOINs it (a row stays without a match)",
    "right": "RIGHT JOINs it (its rows stay without a match)",
    "full": "FULL JOINs it (rows stay without a match)",
    "cross": "joins it with every row",
    "semi": "keeps the rows that have a match in it",
    "anti": "keeps the rows that have no match in it",
}
_SHOWN = 3  # predicates of one read
_LONGEST = 120


def path_to(name: str, source: str, analysis: Analysis) -> tuple[str, ...]:
    """How rows of `source` (an atom's) reach a relation, on the way on which least was asked of them."""
    end = source.removeprefix(DECLARED).removeprefix(MART)
    steps: list[str] = []
    here, seen = name, {name}
    while here != end:
        reads = [r for r in analysis.queries[here].reads if _brings(r.relation, source, end, analysis)]
        reads = [r for r in reads if r.relation not in seen]
        if not reads:
            break
        read = min(reads, key=lambda r: (_asked(r.relation, source, analysis), r.join != "from"))
        steps.append(f"{here} {_said(read)}")
        here = read.relation
        seen.add(here)
        if here not in analysis.queries:
            break
    return (here, *reversed(steps))


def _brings(relation: str, source: str, end: str, analysis: Analysis) -> bool:
    if relation == end:
        return True
    if relation not in analysis.told or analysis.stands_alone(relation):
        return False
    return any(atom.source == source for atom in analysis.atoms(relation))


def _asked(relation: str, source: str, analysis: Analysis) -> int:
    if relation not in analysis.told:
        return 0
    return min((len(a.guards) for a in analysis.atoms(relation) if a.source == source), default=0)


def _said(read: Read) -> str:
    asked = [_short(predicate) for predicate in dict.fromkeys(read.predicates)]
    more = f" and {len(asked) - _SHOWN} more" if len(asked) > _SHOWN else ""
    where = f" on {' and '.join(asked[:_SHOWN])}{more}" if asked else ", asking nothing of its rows"
    return f"{_HOW[read.join]} as {read.alias}{where}"


def _short(predicate: str) -> str:
    one_line = " ".join(predicate.split())
    return one_line if len(one_line) <= _LONGEST else f"{one_line[:_LONGEST]}…"
