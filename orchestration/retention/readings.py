"""Every way to read a file for what it may give away: its name, its bytes, what is packed in it, its tables' values.

Pickles and msgpack need no reading of their own: both keep a text as its bytes or escaped, forms that are looked for,
and nothing is ever unpickled. Not here: what is sealed under the home's keys (`sealed_readings.py`), what is looked for
(`needles.py`)."""

from __future__ import annotations

import bz2
import contextlib
import itertools
import lzma
import re
import sqlite3
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.home import Home
from orchestration.ingestion.quoting import ident
from orchestration.warehouse.duckdb_settings import connect

GZIP, ZSTD, XZ, BZ2 = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh"
SQLITE, PARQUET, DUCKDB = b"SQLite format 3\0", b"PAR1", b"DUCK"
PIECE = 1 << 22
OVERLAP = 4096  # of two pieces, longer than any form that is looked for
ROWS = 5_000
MOST_TOGETHER = 1 << 26  # bytes of small tables that are read together
MOST_PACKED = 16  # pieces of one gzip member within something else
Reading = tuple[str, bytes]  # how it was read, and the bytes


class UnreadableError(Exception):
    """What the file is cannot be read through: it is told, and searched as bytes alone."""


def readings(home: Home, path: Path, *, is_read_through: bool = False) -> Iterator[Reading]:
    """Each reading of a file, piece by piece. Raises UnreadableError where it is of a known kind and damaged; its bytes
    were read by then. What `is_read_through` already, as by `tables_together`, is read as it lies only."""
    yield "name", str(path).encode()
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file:  # never mapped: a map of what another process cuts kills ours
        start = file.read(16)
        for at, piece in _pieces(file):
            yield "bytes", piece
            if not start.startswith(GZIP):
                yield from (("packed within", part) for part in _members(file, at, piece))
    if is_read_through:
        return
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
        yield from (("unpacked", piece) for piece in _overlapping(_inflated([path.read_bytes()], 15)))
    elif start.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield "unpacked", archive.read(name)


def _pieces(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Where each begins, and each with the beginning of the next. One that is no longer than a piece is the last: that
    the file ended was seen when it was read."""
    for at in itertools.count(0, PIECE):
        file.seek(at)
        piece = file.read(PIECE + OVERLAP)
        if piece:
            yield at, piece
        if len(piece) <= PIECE:
            return


def _members(file: IO[bytes], at: int, piece: bytes) -> Iterator[bytes]:
    """Gzip members within something else, wherever they begin in a piece, which is at `at`."""
    start = piece.find(GZIP)
    while 0 <= start < PIECE:
        file.seek(at + start)
        yield from _overlapping(_inflated(iter(partial(file.read, PIECE), b""), 31))
        start = piece.find(GZIP, start + 1)


def _is_zlib(start: bytes) -> bool:
    """RFC 1950: deflate with a window of 32 KB, and a check of the first two bytes."""
    return len(start) > 1 and start[0] == 0x78 and int.from_bytes(start[:2]) % 31 == 0


def _inflated(packed: Iterable[bytes], bits: int) -> Iterator[bytes]:
    """What deflate gives, as far as it is sound: that something begins so proves nothing."""
    unpacker = zlib.decompressobj(bits)
    with contextlib.suppress(zlib.error):
        for chunk in itertools.islice(packed, MOST_PACKED):
            left = chunk
            while left and not unpacker.eof:
                yield unpacker.decompress(left, PIECE)
                left = unpacker.unconsumed_tail
            if unpacker.eof:
                return


def _packed_value(value: bytes) -> Iterator[bytes]:
    """A value of a table that is packed, as Dagster packs its snapshots."""
    if value.startswith(GZIP) or _is_zlib(value):
        yield from _overlapping(_inflated([value], 31 if value.startswith(GZIP) else 15))


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
        if con.execute("PRAGMA encoding").fetchall() != [("UTF-8",)]:
            raise UnreadableError("not in UTF-8")  # in another encoding bytes joined to text are not these bytes
        con.text_factory = bytes
        for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            table, how = ident(name.decode()), f"rows of {name.decode()}"
            columns = [ident(column[0]) for column in con.execute(f"SELECT * FROM {table} LIMIT 0").description]
            # joined by SQLite: hundred thousands of values as Python's objects take three times as long
            joined = " || x'00' || ".join(f"ifnull({column}, '')" for column in columns)
            cursor, may_be_packed = con.execute(f"SELECT x'00' || {joined} FROM {table}"), False
            while rows := cursor.fetchmany(ROWS):
                data = b"".join(row for (row,) in rows)
                may_be_packed = may_be_packed or _PACKED.search(data) is not None
                yield how, data
            if may_be_packed:
                begins = " OR ".join(f"substr(CAST({column} AS BLOB), 1, 1) IN (x'1f', x'78')" for column in columns)
                values = (value for row in con.execute(f"SELECT * FROM {table} WHERE {begins}") for value in row)
                yield from ((how, part) for v in values if isinstance(v, bytes) for part in _packed_value(v))


# gzip, or zlib as far as two bytes tell (RFC 1950, 2.2: 32 KB of window, and a multiple of 31)
_ZLIB = b"".join(re.escape(bytes([second])) for second in range(256) if (0x7800 + second) % 31 == 0)
_PACKED = re.compile(rb"\0(?:\x1f\x8b\x08|x[" + _ZLIB + rb"])")


def _parquet(path: Path) -> Iterator[Reading]:
    is_small = path.stat().st_size < PIECE  # and so are most: read at once and by one thread they take half the time
    file = pq.ParquetFile(pa.BufferReader(path.read_bytes()) if is_small else path)
    for batch in file.iter_batches(batch_size=1 << 17, use_threads=False):
        yield from ((f"column {name}", data) for name, data in of_columns(batch))


def tables_together(paths: Iterable[Path]) -> Iterator[tuple[list[Path], Iterator[Reading]]]:
    """Small Parquet files of the same columns, and the columns of all of them together: a lake has thousands, and to
    read the columns of each takes longer than what is in them. A file that is left out is large, damaged, or another's
    kind. Raises UnreadableError from the columns, as `readings` does."""
    waiting: dict[bytes, dict[Path, pa.Table]] = defaultdict(dict)
    held = 0
    for path in paths:
        with contextlib.suppress(OSError, ValueError, RuntimeError, pa.ArrowException):
            if path.stat().st_size >= PIECE or not (data := path.read_bytes()).startswith(PARQUET):
                continue
            table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
            # as bytes, and whole buffers: to hash a schema and to count its columns' bytes took a fifth of the time
            waiting[table.schema.remove_metadata().serialize().to_pybytes()][path] = table
            held += table.get_total_buffer_size()
        if held > MOST_TOGETHER:
            yield from ((list(tables), _together(tables.values())) for tables in waiting.values())
            waiting.clear()
            held = 0
    yield from ((list(tables), _together(tables.values())) for tables in waiting.values())


def _together(tables: Iterable[pa.Table]) -> Iterator[Reading]:
    for batch in pa.concat_tables(tables).combine_chunks().to_batches():
        yield from ((f"column {name}", data) for name, data in of_columns(batch))


def _duckdb(home: Home, path: Path) -> Iterator[Reading]:
    with connect(home, path, read_only=True) as con:
        tables = con.execute("SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
        for schema, table in tables:
            reader = con.execute(f'SELECT * FROM "{schema}"."{table}"').to_arrow_reader(1 << 17)
            for batch in reader:
                yield from ((f"column {name} of {schema}.{table}", data) for name, data in of_columns(batch))


def of_columns(batch: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    """The values of each column of text, bytes and whole numbers, nested ones too, one after the other; each once, for
    most columns say the same few words of many rows."""
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
        yield from _values(pc.cast(column.unique(), pa.string()))
    elif pa.types.is_floating(kind):  # whole numbers that pandas holds so, for what is absent
        yield from _values(pc.cast(pc.cast(column.unique(), pa.float64()), pa.decimal128(38, 3), safe=False))
    elif any(is_kind(kind) for is_kind in _OF_BYTES):
        distinct = column.cast(pa.binary()).unique()
        present = distinct.drop_null() if distinct.null_count else distinct
        if len(present) > 1000:
            one_list = pa.ListArray.from_arrays(pa.array([0, len(present)], pa.int32()), present)
            yield pc.binary_join(one_list, b"\0")[0].as_buffer().to_pybytes()
        elif len(present):  # a tenth of the time, and there are ten thousands of small ones
            yield b"\0".join(present.to_pylist())
    elif not any(is_kind(kind) for is_kind in _OF_NOBODY):
        raise UnreadableError(f"a column of type {kind} is not read")
