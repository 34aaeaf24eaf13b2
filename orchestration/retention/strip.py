"""Writes a Parquet file again without some of its rows and cells; all else of it stays as it was, in its order.

Not here: which files (`rewrite.py`), and how the new one takes the old one's place (`swap.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.ingestion.layout import write_parquet

FEW_ROWS = 200
FURTHER = "_token"  # the end of the name of a column with a further identifier (`ingestion/contracts.py`)


@dataclass(frozen=True)
class Strip:
    """What goes: rows with one of `values` in a column of `keys`; where only a column of `cells` has one, that cell."""

    values: pa.Array
    keys: tuple[str, ...]
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stripped:
    """What a file loses, and where the rest of it was written (None: nothing is left)."""

    rows: int
    cells: int
    rest: Path | None


def further_columns(schema: pa.Schema) -> tuple[str, ...]:
    """The columns of a touchpoint file that hold tokens of further identifiers."""
    names = [name for name in schema.names if name.endswith(FURTHER) and name != "subject_token"]
    return tuple(name for name in names if pa.types.is_string(schema.field(name).type))


def strip(path: Path, what: Strip, aside: Path, *, keep_empty: bool = False) -> Stripped | None:
    """Writes what is left of `path` to `aside`; None, and no file, where it holds nothing of `what`."""
    before = pq.ParquetFile(path).read()
    is_gone = _is_any(before, what.keys, what.values)
    rest = _without(before, is_gone)
    rest, cells = _blanked(rest, what)
    rows = before.num_rows - rest.num_rows
    if not rows and not cells:
        return None
    if not rest.num_rows and not keep_empty:
        return Stripped(rows, cells, None)
    write_parquet(rest, aside)
    return Stripped(rows, cells, aside)


def _without(table: pa.Table, is_gone: pa.ChunkedArray) -> pa.Table:
    """Rows that go are few and lie together: what lies between them is taken as it is, which copies nothing."""
    gone = np.flatnonzero(pc.fill_null(is_gone, False).to_numpy())
    if len(gone) > FEW_ROWS:
        return table.filter(pc.invert(is_gone))
    ends, begins = [*gone.tolist(), table.num_rows], [0, *(gone + 1).tolist()]
    return pa.concat_tables(
        table.slice(at, end - at) for at, end in zip(begins, ends, strict=True) if end > at or at == 0
    )


def _is_any(table: pa.Table, columns: Sequence[str], values: pa.Array) -> pa.ChunkedArray:
    found = [pc.is_in(table[name], value_set=values) for name in columns]
    is_any = found[0]
    for other in found[1:]:
        is_any = pc.or_(is_any, other)
    return is_any


def _blanked(table: pa.Table, what: Strip) -> tuple[pa.Table, int]:
    cells = 0
    for name in what.cells:
        is_hit = pc.is_in(table[name], value_set=what.values)
        number = pc.sum(is_hit).as_py() or 0
        if number:
            empty = pa.scalar(None, table.schema.field(name).type)
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(name), pc.if_else(is_hit, empty, table[name]))
            cells += number
    return table, cells
