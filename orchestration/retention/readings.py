"""Every way to read a file for what it may give away: its name, its bytes, what is packed in it, its tables' values.

Pickles and msgpack need no reading of their own: both keep a text as its bytes or escaped, forms that are looked for,
and nothing is ever unpickled. Not here: what is sealed under the home's keys (`sealed_readings.py`), what is looked for
(`needles.py`)."""

from __future__ import annotations

import bz2
import contextlib
import lzma
import mmap
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.home import Home
from orchestration.retention.needles import Bytes
from orchestration.warehouse.duckdb_settings import connect

GZIP, ZSTD, XZ, BZ2 = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh"
SQLITE, PARQUET, DUCKDB = b"SQLite format 3\0", b"PAR1", b"DUCK"
PIECE = 1 << 22
OVERLAP = 4096  # of two pieces, longer than any form that is looked for
ROWS = 5_000
MOST_PACKED = 1 << 26  # bytes of one gzip member within something else
Reading = tuple[str, Bytes]  # how it was read, and the bytes


class UnreadableError(Exception):
    """What the file is cannot be read through: it is told, and searched as bytes alone."""


def readings(home: Home, path: Path) -> Iterator[Reading]:
    """Each reading of a file, piece by piece. Raises UnreadableError where it is of a known kind and damaged; its bytes
    were read by then."""
    yield "name", str(path).encode()
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from (("bytes", piece) for piece in _pieces(data))
        start = bytes(data[:16])
        if not start.startswith(GZIP):
            yield from (("packed within", piece) for piece in _members(data))
    try:
        yield from _inside(home, path, start)
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        pa.ArrowException,
    ) as error:
        raise UnreadableError(type(error).__name__) from None
    except (sqlite3.Error, duckdb.Error) as error:
        raise UnreadableError(type(error).__name__) from None


def _inside(home: Home, path: Path, start: bytes) -> Iterator[Reading]:
    if start.startswith(SQLITE):
        yield from _sqlite(path)
    elif start.startswith(PARQUET):
        yield from _parquet(path)
    elif start[8:12] == DUCKDB:
        yield from _duckdb(home, path)
    elif start.startswith((GZIP, ZSTD, XZ, BZ2)):
        yield from (("unpacked", piece) for piece in _overlapping(_unpacked(path, start)))
    elif _is_zlib(start):
        yield from (("unpacked", piece) for piece in _overlapping(_inflated(path.read_bytes(), 15)))
    elif start.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield "unpacked", archive.read(name)


def _pieces(data: mmap.mmap) -> Iterator[bytes]:
    """Copied piece by piece: what looks at them may keep views that a closed map would not survive."""
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE + OVERLAP]


def _members(data: mmap.mmap) -> Iterator[bytes]:
    """Gzip members within something else, wherever they begin."""
    start = data.find(GZIP)
    while start >= 0:
        yield from _overlapping(_inflated(memoryview(data[start : start + MOST_PACKED]), 31))
        start = data.find(GZIP, start + 1)


def _is_zlib(start: bytes) -> bool:
    """RFC 1950: deflate with a window of 32 KB, and a check of the first two bytes."""
    return len(start) > 1 and start[0] == 0x78 and int.from_bytes(start[:2]) % 31 == 0


def _inflated(data: Bytes, bits: int) -> Iterator[bytes]:
    """What deflate gives, as far as it is sound: that something begins so proves nothing."""
    unpacker, left = zlib.decompressobj(bits), bytes(data)
    with contextlib.suppress(zlib.error):
        while left and not unpacker.eof:
            yield unpacker.decompress(left, PIECE)
            left = unpacker.unconsumed_tail


def _packed_value(value: bytes) -> Iterator[bytes]:
    """A value of a table that is packed, as Dagster packs its snapshots."""
    if value.startswith(GZIP) or _is_zlib(value):
        yield from _overlapping(_inflated(value, 31 if value.startswith(GZIP) else 15))


def _overlapping(chunks: Iterator[bytes]) -> Iterator[bytes]:
    kept = b""
    for chunk in chunks:
        yield kept + chunk
        kept = (kept + chunk)[-OVERLAP:]


def _unpacked(path: Path, start: bytes) -> Iterator[bytes]:
    if start.startswith(ZSTD):
        with path.open("rb") as file, pa.CompressedInputStream(pa.PythonFile(file), "zstd") as stream:
            while chunk := stream.read(PIECE):
                yield chunk
        return
    openers: dict[bytes, Any] = {XZ: lzma.open, BZ2: bz2.open}
    opener = next((o for magic, o in openers.items() if start.startswith(magic)), None)
    if opener is not None:
        with opener(path) as stream:
            while chunk := stream.read(PIECE):
                yield chunk
        return
    yield from _gunzipped(path)


def _gunzipped(path: Path) -> Iterator[bytes]:
    """Member after member, as far as they are sound. Raises zlib.error at the end of what was cut or damaged."""
    unpacker, is_begun = zlib.decompressobj(31), False
    with path.open("rb") as stream:
        while chunk := stream.read(PIECE):
            while chunk:
                is_begun = True
                yield unpacker.decompress(chunk, PIECE)
                chunk = unpacker.unconsumed_tail
                if unpacker.eof:
                    chunk, unpacker, is_begun = unpacker.unused_data.lstrip(b"\0"), zlib.decompressobj(31), False
    if is_begun:
        raise zlib.error("cut")


def _sqlite(path: Path) -> Iterator[Reading]:
    """Values row by row: one that is spread over pages is not whole in the file. Opening it reads its log as well."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as con:
        con.text_factory = bytes
        tables = con.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in tables:
            how, cursor = f"rows of {name.decode()}", con.execute(f'SELECT * FROM "{name.decode()}"')
            while rows := cursor.fetchmany(ROWS):
                values = [_bytes(value) for row in rows for value in row]
                yield how, b"\0".join(values)
                likely = [value for value in values if value[:1] in b"\x1f\x78"]  # of hundred thousands, few
                yield from ((how, part) for value in likely for part in _packed_value(value))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _parquet(path: Path) -> Iterator[Reading]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=1 << 17, use_threads=False):  # small ones: half the time
        yield from ((f"column {name}", data) for name, data in of_columns(batch))


def _duckdb(home: Home, path: Path) -> Iterator[Reading]:
    with connect(home, path, read_only=True) as con:
        tables = con.execute("SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
        for schema, table in tables:
            reader = con.execute(f'SELECT * FROM "{schema}"."{table}"').to_arrow_reader(1 << 17)
            for batch in reader:
                yield from ((f"column {name} of {schema}.{table}", data) for name, data in of_columns(batch))


def of_columns(batch: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    """The values of each column of text, bytes and whole numbers, nested ones too, one after the other."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        yield from ((name, data) for data in _values(column))


_OF_BYTES = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary,
    pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary,
)  # fmt: skip
_OF_NOBODY = (pa.types.is_boolean, pa.types.is_temporal, pa.types.is_null)


def _values(column: pa.Array) -> Iterator[bytes]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _values(column.dictionary)
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            yield from _values(part)
    elif pa.types.is_map(kind):
        yield from (data for part in (column.keys, column.items) for data in _values(part))
    elif pa.types.is_nested(kind):
        yield from _values(column.flatten())
    elif pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        yield from _values(pc.cast(column, pa.string()))
    elif pa.types.is_floating(kind):  # whole numbers that pandas holds so, for what is absent
        yield from _values(pc.cast(pc.cast(column, pa.float64()), pa.decimal128(38, 3), safe=False))
    elif any(is_kind(kind) for is_kind in _OF_BYTES):
        present = column.cast(pa.binary()).drop_null()
        if len(present):
            one_list = pa.ListArray.from_arrays(pa.array([0, len(present)], pa.int32()), present)
            yield pc.binary_join(one_list, b"\0")[0].as_py()
    elif not any(is_kind(kind) for is_kind in _OF_NOBODY):
        raise UnreadableError(f"a column of type {kind} is not read")
