"""Opens landing files as verified UTF-8, and turns verified files into Arrow tables of lines. What a line says is for
`jsonl.py`, `delimited.py` and `messages.py`."""

from __future__ import annotations

import mmap
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.ingestion.refusal import Limits, Refused
from orchestration.ingestion.transcode import transcode

LINES_PER_BATCH = 61_440  # DuckDB scans Arrow batch by batch: several per file keep both cores busy
BLOCK = 64 << 20
MOST_BLANK = 16  # a longer run of spaces is a row, and malformed
LINES = pa.schema([("row_no", pa.int64()), ("line", pa.large_string())])


def open_lines(path: Path, compression: Literal["none", "gzip"], encoding: str, tmp: Path, limits: Limits) -> Path:
    """A verified UTF-8 copy of `path` in `tmp`, without BOM. The caller unlinks it in a `finally`. Raises Refused."""
    return open_hashed(path, compression, encoding, tmp, limits)[0]


def open_hashed(
    path: Path, compression: Literal["none", "gzip"], encoding: str, tmp: Path, limits: Limits
) -> tuple[Path, str]:
    """Like `open_lines`, with the SHA-256 of the bytes that were read."""
    target = tmp / f"in-{secrets.token_hex(8)}.txt"
    digest: str | None = None
    unreadable = False
    try:
        digest = transcode(path, compression, encoding, target, limits)
    except OSError:
        unreadable = True
    finally:
        if digest is None:
            target.unlink(missing_ok=True)
    if unreadable or digest is None:
        raise Refused("unreadable")
    return target, digest


def line_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Batches of (row_no from 1, line without its line end); blank lines are not rows but keep their number."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first, start = 1, 0
        while start < len(data):
            stop = _block_end(data, start)
            block = data[start:stop]
            ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 0x0A).astype(np.int64) + 1
            if not block.endswith(b"\n"):
                ends = np.append(ends, len(block))
            yield from _batches_of(block, ends, first)
            first, start = first + len(ends), stop


def lines_reader(path: Path) -> pa.RecordBatchReader:
    """The lines of a verified file as a stream that DuckDB can scan once (see `line_batches`)."""
    return pa.RecordBatchReader.from_batches(LINES, line_batches(path))


def _block_end(data: mmap.mmap, start: int) -> int:
    """Blocks end after a line end, so that no line is cut."""
    end = data.find(b"\n", start + BLOCK) if start + BLOCK < len(data) else -1
    return len(data) if end < 0 else end + 1


def _batches_of(block: bytes, ends: np.ndarray[tuple[int], np.dtype[np.int64]], first: int) -> Iterator[pa.RecordBatch]:
    offsets = np.concatenate((np.zeros(1, dtype=np.int64), ends))
    whole = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(block))
    for at in range(0, len(ends), LINES_PER_BATCH):
        lines = pc.ascii_rtrim(whole.slice(at, LINES_PER_BATCH), "\r\n")
        numbers = pa.array(np.arange(first + at, first + at + len(lines), dtype=np.int64))
        batch = pa.RecordBatch.from_arrays([numbers, lines], schema=LINES)
        lengths = pc.binary_length(lines)
        if pc.min(lengths).as_py() <= MOST_BLANK:
            batch = batch.filter(pc.greater(pc.binary_length(pc.ascii_trim_whitespace(lines)), 0))
        yield batch
