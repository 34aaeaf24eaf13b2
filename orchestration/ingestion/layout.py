"""How the rows of the lake lie in files: by subject, in parts of a few thousand, so that one person's rows lie in few.

A file of a batch and business day is sorted by subject token and cut into parts of about ROWS_OF_A_PART rows; small
data, and links, stay one file. Erasing somebody then reads and writes the parts that name them and no others.
Not here: which rows there are (`writer.py`), and removing any (`retention/rewrite.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.ingestion.token_filter import NAME, filter_of

# Measured on 2 M rows of 24 days (CPU time; a plain decode-and-encode copy takes 3.3 to 4 s), whole files / parts of
# 16,384 / of 8,192: reading three columns 0.09 / 0.14 / 0.17 s, all columns 0.67 / 0.87 / 0.99 s, and erasing somebody
# with 20 visits in 60 days writes 20 x 83,000 / 16,384 / 8,192 rows. Smaller parts cost every build more than they save
# a rare erasure. Row groups as small in one file cost readers the same, and cannot be replaced one by one. Sorting and
# cutting makes ingestion 9% dearer (15.1 instead of 13.8 us a row of CSV).
ROWS_OF_A_PART = 16_384
ROWS_OF_A_SMALL = 2_000  # with some 20 columns, less than a megabyte
UNIQUE = ("touchpoint_key", "body_hash")  # a dictionary of them would be a second copy
Key = tuple[Any, ...]


def write_parquet(table: pa.Table, path: Path) -> None:
    """One file of the lake, with the filter of its tokens."""
    with pq.ParquetWriter(path, table.schema, **options(table)) as writer:
        writer.write_table(table)
        tokens = filter_of(table)
        if tokens is not None:
            writer.add_key_value_metadata({NAME: tokens})
    path.chmod(0o600)


def options(table: pa.Table) -> dict[str, Any]:
    """How a file of the lake is encoded. Version 2 of the pages is read faster here, and smaller, than version 1; zstd
    beyond level 1 costs more than it saves.

    In a small file only what is hexadecimal is packed, by half: of the rest a dictionary left little, and a reader sets
    zstd up for each column. Measured on the demo's 817 files, 1.02 x as large and read in 0.77 of the time."""
    names = table.column_names
    packed = [name for name in names if table.num_rows > ROWS_OF_A_SMALL or name in UNIQUE or "token" in name]
    return {
        "compression": dict.fromkeys(packed, "zstd"),
        "compression_level": dict.fromkeys(packed, 1),
        "data_page_version": "2.0",
        "use_dictionary": [name for name in names if name not in UNIQUE],
        "store_schema": False,
    }


def write_parts(
    batches: Iterable[pa.RecordBatch], keys: int, folder: Path, *, whole: bool = False
) -> Iterator[tuple[Path, int, Key, int]]:
    """Writes rows that come in the order of their first `keys` columns, which are left out, then of subject; `whole`:
    one file for each key. Yields (file, rows, values of the keys, number of the part from 0)."""
    for written, (key, number, table) in enumerate(_cut(batches, keys, whole)):
        path = folder / f"{written}.parquet"
        write_parquet(table, path)
        yield path, table.num_rows, key, number


def _cut(batches: Iterable[pa.RecordBatch], keys: int, whole: bool) -> Iterator[tuple[Key, int, pa.Table]]:
    """The last part of a key has up to half a part more, rather than a small file beside it."""
    held: list[pa.RecordBatch] = []
    current: Key | None = None
    number = rows = 0
    for key, piece in _pieces(batches, keys):
        if current is not None and key != current:
            yield current, number, pa.Table.from_batches(held)
            held, number, rows = [], 0, 0
        current = key
        held.append(piece)
        rows += piece.num_rows
        while not whole and rows >= ROWS_OF_A_PART * 3 // 2:
            table = pa.Table.from_batches(held)
            yield current, number, table.slice(0, ROWS_OF_A_PART)
            held, number, rows = table.slice(ROWS_OF_A_PART).to_batches(), number + 1, rows - ROWS_OF_A_PART
    if current is not None:
        yield current, number, pa.Table.from_batches(held)


def _pieces(batches: Iterable[pa.RecordBatch], keys: int) -> Iterator[tuple[Key, pa.RecordBatch]]:
    """Each batch, cut where a key changes; without the keys."""
    for batch in batches:
        if not batch.num_rows:
            continue
        rest = batch.select(range(keys, batch.num_columns))
        start = 0
        while start < batch.num_rows:
            key = tuple(batch.column(at)[start].as_py() for at in range(keys))
            end = _end_of(batch, keys, start, key)
            yield key, rest.slice(start, end - start)
            start = end


def _end_of(batch: pa.RecordBatch, keys: int, start: int, key: Key) -> int:
    """By halving: the keys are sorted, and a batch has few."""
    low, high = start, batch.num_rows - 1
    while low < high:
        middle = (low + high + 1) // 2
        if tuple(batch.column(at)[middle].as_py() for at in range(keys)) == key:
            low = middle
        else:
            high = middle - 1
    return low + 1
