"""Finds the column that somebody means: `relation.column`, with or without the schema before it.

What is not there is answered by what is near it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import islice

from orchestration.errors import AssentError
from orchestration.proof.lineage.edges import ROWS, Column
from orchestration.proof.lineage.graph import Lineage

NEAR = 5
NONE_NEAR = "`assent lineage` without a column lists what can be asked"


def find_column(lineage: Lineage, text: str, option: str, first: Sequence[str]) -> Column:
    """The column of that name, without a schema in those of `first` before others. Raises AssentError, naming near
    matches, where there is none or are several."""
    columns = [column for column in lineage.columns if column.name != ROWS]
    wanted = text.strip().lower()
    found = [column for column in columns if wanted in (str(column), str(column).partition(".")[2])]
    exact = [column for column in found if str(column) == wanted]
    meant = exact or [column for column in found if column.relation.partition(".")[0] in first] or found
    if len(meant) == 1:
        return meant[0]
    if found:
        raise AssentError(
            "several columns have this name", where=option, remedy=f"Write one of {_listed(map(str, found))}"
        )
    relations = [name for name in lineage.relations if wanted in (name, name.partition(".")[2])]
    if relations:
        names = lineage.relations[relations[0]]
        raise AssentError(
            f"{relations[0]} is a table or file", where=option, remedy=f"Add a column: {', '.join(names)}"
        )
    preferred = [column for column in columns if column.relation.partition(".")[0] in first]
    advice = _advice(preferred, wanted) or _advice(columns, wanted)
    raise AssentError("there is no such column", where=option, remedy=advice or NONE_NEAR)


def _advice(columns: list[Column], wanted: str) -> str:
    """Names near to it, and those of the same column elsewhere."""
    full = {name: str(column) for column in columns for name in (str(column), str(column).partition(".")[2])}
    near = [full[name] for name in difflib.get_close_matches(wanted, full, n=2 * NEAR, cutoff=0.6)]
    near += [str(column) for column in columns if column.name == wanted.rpartition(".")[2]]
    shown = list(dict.fromkeys(near))[:NEAR]
    return f"Near it: {_listed(shown)}" if shown else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(islice(names, 2 * NEAR))
