"""Writes an answer of lineage as lines for a terminal. Codes as the policy has them, so that they can be searched for.

Not here: the page (`page.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestration.proof.lineage.answers import Goes, Origins, Told
from orchestration.proof.lineage.edges import Column
from orchestration.proof.lineage.graph import SHOWN, Lineage

AROUND = "not through a gate"
MOST_NAMES = 8  # of one relation's columns on a line
WORDS = {
    "field": "sources", "consent": "consent feeds", "stored": "stored", "log": "what was delivered before",
    "policy": "policy", "build": "the build", "key": "keys", "made": "made at the door",
}  # fmt: skip
Row = tuple[str, ...]


def origins_lines(answer: Origins, *, paths: bool) -> Iterator[str]:
    """What a column is made of, then what decides on it."""
    yield _head(answer.column, answer.category, answer.purposes, answer.destination)
    yield "made of"
    yield from (
        _origins(answer.made_of, paths)
        if answer.made_of
        else ["  no column: it counts rows, or is the same in every row"]
    )
    if answer.decided_by:
        yield "who is in it, and what is shown, is decided by"
        yield from _origins(answer.decided_by, paths) if paths else _grouped(answer.decided_by)


def goes_lines(answer: Goes, *, paths: bool) -> Iterator[str]:
    """Where a field goes, and for what."""
    yield _head(answer.column, answer.category, answer.purposes, None, answer.verb, answer.stage)
    for title, told in (("goes to, as a value", answer.goes_to), ("decides who is in", answer.decides)):
        if told:
            yield title
            yield from _ends(told, paths)
    if answer.kept:
        yield "is kept, or ends, in"
        yield from _ends(answer.kept, paths)
    if not (answer.goes_to or answer.decides or answer.kept):
        yield "goes nowhere: it is dropped at the door"


def overview_lines(lineage: Lineage) -> Iterator[str]:
    """What can be asked."""
    for title, wanted in (("shown to people, or delivered", SHOWN), ("sources' fields", ("landing",))):
        yield title
        named = [(name, of) for name, of in lineage.relations.items() if name.partition(".")[0] in wanted]
        yield from _aligned((f"  {name}", ", ".join(columns)) for name, columns in named)
    yield f"gates: {', '.join(lineage.gates) or 'none'}"
    yield "ask with `assent lineage TABLE.COLUMN`, or `assent lineage --from SOURCE.FIELD`"


def _head(
    column: str,
    category: str | None,
    purposes: Sequence[str],
    destination: str | None,
    verb: str | None = None,
    stage: str | None = None,
) -> str:
    said = [category, verb and f"at the door: {verb}", stage and f"after the stage {stage}"]
    said += [f"for {', '.join(purposes)}" if purposes else None, destination and f"to {destination}"]
    return f"{column}   {'; '.join(one for one in said if one)}".rstrip()


def _origins(told: Sequence[Told], paths: bool) -> Iterator[str]:
    ordered = sorted(told, key=lambda one: (list(WORDS).index(one.kind) if one.kind in WORDS else 0, one.column))
    rows = [(f"  {one.column}", one.category or "", ", ".join(one.verbs), _gates(one)) for one in ordered]
    for line, one in zip(_aligned(rows), ordered, strict=True):
        yield line
        yield from _path(one) if paths else ()


def _ends(told: Sequence[Told], paths: bool) -> Iterator[str]:
    if not paths:
        yield from _aligned(_ends_by_relation(told))
        return
    rows = [
        (
            f"  {one.column}",
            ", ".join(one.verbs),
            f"for {', '.join(one.purposes)}" if one.purposes else "",
            _gates(one),
        )
        for one in told
    ]
    for line, one in zip(_aligned(rows), told, strict=True):
        yield line
        yield from _path(one) if paths else ()


def _ends_by_relation(told: Sequence[Told]) -> list[Row]:
    """The columns of one relation that are reached through the same gates, on one line."""
    found: dict[tuple[str, str], list[Told]] = {}
    for one in told:
        found.setdefault((one.relation, _gates(one)), []).append(one)
    rows: list[Row] = []
    for (relation, gates), of in sorted(found.items(), key=lambda item: _place(item[0][0])):
        names = [one.column.rpartition(".")[2] for one in of if one.column != relation]
        verbs = list(dict.fromkeys(verb for one in of for verb in one.verbs))
        purpose = f"for {', '.join(of[0].purposes)}" if of[0].purposes else ""
        rows.append((f"  {relation}", _some(names), ", ".join(verbs), purpose, gates))
    return rows


def _place(relation: str) -> tuple[int, str]:
    """Segments before governance tables before files before the rest."""
    schema = relation.partition(".")[0]
    return (SHOWN.index(schema) if schema in SHOWN else len(SHOWN)), relation


def _grouped(told: Sequence[Told]) -> Iterator[str]:
    """The columns of one relation on one line, apart where some pass other gates; of the policy the tables, and of
    consent the feeds."""
    found: dict[tuple[int, str, str], list[str]] = {}
    for one in told:
        is_whole = one.kind in ("policy", "consent")
        place = WORDS[one.kind] if is_whole else one.relation
        name = (one.relation.partition(".") if is_whole else one.column.rpartition("."))[2]
        names = found.setdefault((list(WORDS).index(one.kind), place, _gates(one)), [])
        if name not in names:
            names.append(name)
    yield from _aligned((f"  {place}", _some(names), gates) for (_, place, gates), names in sorted(found.items()))


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _gates(one: Told) -> str:
    """The gates that every way passes. Of what is no touchpoint's no gate is asked."""
    if one.kind not in ("field", "segment", "governance", "file"):
        return ""
    if one.gates:
        return f"through {', '.join(_short(one.gates))}"
    if one.around is not None and one.is_gated:
        return f"through a gate, or {one.around.partition('.')[2]} as reviewed"
    return "" if one.is_gated else AROUND


def _short(gates: Iterable[str]) -> list[str]:
    return [gate.partition(".")[2] for gate in gates]


def _path(one: Told) -> Iterator[str]:
    for source, how, target in one.path:
        shown = Column(*target.rsplit(".", 1))
        yield f"      {source} ─{how}→ {shown.relation if shown.name == '*' else target}"


def _aligned(rows: Iterable[Row]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
