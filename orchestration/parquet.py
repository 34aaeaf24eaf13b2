"""Reads a Parquet file whole. `pyarrow.parquet.read_table` goes by pyarrow's datasets, which import pandas: 0.3 s of a
command that needs neither."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(source: Path | pa.BufferReader, schema: pa.Schema | None = None) -> pa.Table:
    """All rows; with the columns of `schema`, if given: what the file does not have is null. Raises ArrowException
    where it cannot be read, and OSError."""
    with pq.ParquetFile(source) as file:
        table = file.read()
    if schema is None:
        return table
    present = [name for name in schema.names if name in table.column_names]
    cast = table.select(present).cast(pa.schema([schema.field(name) for name in present]))
    return pa.concat_tables([schema.empty_table(), cast], promote_options="default")
