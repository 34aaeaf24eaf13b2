"""What every reader hands on: one row per record of the files, before types and rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from orchestration.ingestion.refusal import MAX_ROW_BYTES
from orchestration.policy.schema import Column, Feed

NUMBERED_LINES = pa.schema([("file_no", pa.int32()), ("row_no", pa.int64()), ("line", pa.large_string())])
TOO_LONG = f"strlen(line) > {MAX_ROW_BYTES}"


@dataclass(frozen=True)
class Parsed:
    """`relation`: SQL with file_no, row_no, line, problem (a quarantine reason or NULL), dropped (how many fields of
    the row policy does not name), and what the others read. `values`: raw column, key path or tag → VARCHAR expression
    over it. `content`: one of everything that policy names: a field that it does not name changes no key."""

    relation: str
    values: dict[str, str]
    content: str


def columns_of(feed: Feed) -> dict[str, Column]:
    """Field → where it comes from, always in the long form."""
    return {
        field: column if isinstance(column, Column) else Column(column=column) for field, column in feed.columns.items()
    }


def raw_columns(feed: Feed) -> tuple[str, ...]:
    """The raw columns that fields read, each once."""
    return tuple(dict.fromkeys(column.column for column in columns_of(feed).values()))


def known_columns(feed: Feed) -> frozenset[str]:
    """Every raw column that policy names; any other is dropped, and counted."""
    return frozenset(raw_columns(feed)) | frozenset(feed.ignored_columns)


class LineStream:
    """Numbered lines of several files as one stream for DuckDB; `read` counts them per file on the way."""

    def __init__(self, files: Iterable[tuple[int, Iterable[pa.RecordBatch]]]) -> None:
        self._files = files
        self.read: dict[int, int] = {}

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(NUMBERED_LINES, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for file_no, batches in self._files:
            self.read[file_no] = 0
            for batch in batches:
                self.read[file_no] += batch.num_rows
                number = pa.repeat(pa.scalar(file_no, pa.int32()), batch.num_rows)
                yield pa.RecordBatch.from_arrays([number, *batch.columns], schema=NUMBERED_LINES)
