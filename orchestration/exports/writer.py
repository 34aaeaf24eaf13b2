"""Writes the files of one export: CSV that no spreadsheet runs, or Parquet; aside first, then renamed.

Not here: who is in the file (`export.py`) and what its manifest says (`manifest.py`)."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.atomic import write_bytes
from orchestration.exports.cells import safe_cell, write_moment
from orchestration.exports.manifest import FilePart
from orchestration.policy.schema import Destination

ENCODINGS = {"csv": "utf-8-sig", "csv_gb18030": "gb18030", "parquet": None}
TYPES = {"admitted_by": pa.int64(), "consent_until": pa.timestamp("us", tz="UTC")}

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Rendered:
    """A file's bytes before it is written, with what the manifest says of it."""

    part: FilePart
    data: bytes


def render(stem: str, columns: Sequence[str], rows: Rows, destination: Destination) -> Rendered:
    """`rows` in the destination's format. The same rows always give the same bytes."""
    encoding = ENCODINGS[destination.format]
    data = _parquet(columns, rows) if encoding is None else _csv(columns, rows, encoding)
    name = f"{stem}.{'parquet' if encoding is None else 'csv'}"
    part = FilePart(name=name, rows=len(rows), columns=tuple(columns), sha256=hashlib.sha256(data).hexdigest())
    return Rendered(part, data)


def _csv(columns: Sequence[str], rows: Rows, encoding: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(column, row[column]) for column in columns] for row in rows)
    return text.getvalue().encode(encoding)


def _cell(column: str, value: Any) -> str:
    if column == "consent_until":
        return write_moment(value)
    if column == "contact":
        return str(value)  # exact: `cells.write_contact` never gives one that starts a formula
    return "" if value is None else safe_cell(str(value))


def _parquet(columns: Sequence[str], rows: Rows) -> bytes:
    arrays = [pa.array([row[column] for row in rows], TYPES.get(column, pa.string())) for column in columns]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, names=list(columns)), sink, compression="zstd")
    return bytes(sink.getvalue())


def read_back(rendered: Rendered, destination: Destination) -> pa.Table:
    """What a recipient will read from these bytes, CSV cells as text: the checks look at this, not at our rows."""
    encoding = ENCODINGS[destination.format]
    if encoding is None:
        return pq.read_table(pa.BufferReader(rendered.data))
    lines = list(csv.reader(io.StringIO(rendered.data.decode(encoding), newline=""), strict=True))
    header, body = lines[0], lines[1:]
    cells = list(zip(*body, strict=True)) if body else [()] * len(header)
    return pa.table([pa.array([cell or None for cell in column], pa.string()) for column in cells], names=header)


def make_folder(outbox: Path, *names: str) -> Path:
    """The folder under the outbox, as open to the outbox's group as the outbox itself."""
    mode = outbox.stat().st_mode & 0o2770
    folder = outbox
    for name in names:
        folder = folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
        _give(folder, outbox)
    return folder


def write_file(folder: Path, rendered: Rendered, outbox: Path) -> None:
    """Writes aside (`tmp_*`), then renames; the group that may read the outbox may read the file."""
    path = folder / rendered.part.name
    write_bytes(path, rendered.data, mode=file_mode(outbox))
    _give(path, outbox)


def file_mode(outbox: Path) -> int:
    return 0o600 | outbox.stat().st_mode & 0o040


def _give(path: Path, outbox: Path) -> None:
    group = outbox.stat().st_gid
    if path.stat().st_gid != group:
        os.chown(path, -1, group)


def sweep(outbox: Path) -> int:
    """Removes what a killed export left aside; returns how many files."""
    left = [path for path in outbox.rglob("tmp_*") if path.is_file()]
    for path in left:
        path.unlink()
    return len(left)
