"""Reads Parquet: a verified copy, columns and types held to policy, values as the text that every reader hands on.

DuckDB checks no checksum of a page and follows a dictionary of any size, so Arrow reads each file once before. Nothing
is cast but what keeps every value; no error text of either leaves this module."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.ingestion.parsed import TOO_LONG, Parsed, columns_of, known_columns, raw_columns
from orchestration.ingestion.quoting import ident, text
from orchestration.ingestion.refusal import MAX_LINE_BYTES, MOST_UNKNOWN_COLUMNS, Limits, RefusalReason, Refused
from orchestration.ingestion.timestamps import EPOCH_DIGITS
from orchestration.ingestion.transcode import CHUNK, RATIO_FLOOR
from orchestration.policy.schema import Feed, Source, SourceField

MAGIC = b"PAR1"
ROWS_PER_BATCH = 65_536


def open_parquet(path: Path, source: Source, feed: Feed, tmp: Path) -> tuple[Path, str]:
    """A verified copy of `path` in `tmp`, and the SHA-256 of the bytes. The caller unlinks it. Raises Refused."""
    target = tmp / f"in-{secrets.token_hex(8)}.parquet"
    digest = ""
    reason: RefusalReason | None = "unreadable"
    try:
        digest = _copy(path, target, Limits.of(feed))
        reason = "corrupt"
        _check_frame(target)
        _verify(target, source, feed, Limits.of(feed))
        reason = None
    except Refused as refused:
        reason = refused.reason
    except (OSError, pa.ArrowException):  # their texts quote values
        pass
    finally:
        if reason is not None:
            target.unlink(missing_ok=True)
    if reason is not None:
        raise Refused(reason)
    return target, digest


def parse(feed: Feed, files: dict[int, Path]) -> Parsed:
    """Every file's rows as text. The line is every known column in a fixed order, as of a CSV."""
    names = sorted(known_columns(feed))
    places = {name: f"c_{number}" for number, name in enumerate(names, 1)}
    parts = [_as_text(number, path, places) for number, path in files.items()]
    line = ", ".join(f"coalesce({place}, chr(30))" for place in places.values())
    lines = f"SELECT *, concat_ws(chr(31), {line}) AS line FROM ({' UNION ALL '.join(parts)})"
    relation = f"SELECT *, CASE WHEN {TOO_LONG} THEN 'oversized' END AS problem FROM ({lines})"
    return Parsed(relation, {name: places[name] for name in raw_columns(feed)}, "line")


def rows_of(path: Path) -> int:
    """Rows of a verified file."""
    return int(pq.read_metadata(path).num_rows)


def _as_text(number: int, path: Path, places: dict[str, str]) -> str:
    leaves, dropped = _leaves(pq.read_schema(path), places.keys())
    absent = {name for name, kind in leaves.items() if pa.types.is_null(kind)}
    values = ", ".join(
        f"{'NULL' if name in absent else _member(name)}::VARCHAR AS {place}" for name, place in places.items()
    )
    return (
        f"SELECT {int(number)}::INTEGER AS file_no, file_row_number + 1 AS row_no, "
        f"{dropped}::BIGINT AS dropped, {values} "
        f"FROM read_parquet({text(path)}, file_row_number = true, hive_partitioning = false)"
    )


def _member(name: str) -> str:
    first, *rest = name.split(".")
    sql = ident(first)
    for step in rest:
        sql = f"struct_extract({sql}, {text(step)})"
    return sql


def _copy(path: Path, target: Path, limits: Limits) -> str:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out, path.open("rb") as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            size += out.write(chunk)
            if size > limits.max_bytes:
                raise Refused("bomb")
    return digest.hexdigest()


def _check_frame(path: Path) -> None:
    """The footer is at the end, so a file that was cut anywhere has none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(max(size - 4, 0))
        end = file.read()
    if size == 0:
        raise Refused("empty")
    if not MAGIC.startswith(start[: len(MAGIC)]):
        raise Refused("corrupt")
    if size < 3 * len(MAGIC) or end != MAGIC:
        raise Refused("truncated")


def _verify(path: Path, source: Source, feed: Feed, limits: Limits) -> None:
    """Reads every page of the known columns with its checksum; no other is read. Strings stay in their dictionaries: a
    small file cannot fill memory."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > limits.max_bytes:
        raise Refused("bomb")
    known = known_columns(feed)
    chunks = [chunk for group in groups for chunk in _chunks(group) if _is_known(chunk, known)]
    if any(chunk.physical_type == "INT96" for chunk in chunks):  # of no certain zone
        raise Refused("contract_broken")
    packed = {chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page and _is_text(chunk)}
    with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=sorted(packed & known)) as file:
        leaves, _ = _leaves(file.schema_arrow, known)
        _check_types(leaves, source, feed)
        size = 0
        for batch in file.iter_batches(ROWS_PER_BATCH, columns=sorted(known)):
            batch.validate(full=True)  # UTF-8 too
            size += batch.num_rows * len(leaves) + sum(_unpacked(column) for column in batch.columns)
            if size > limits.max_bytes or (size > RATIO_FLOOR and size > limits.max_ratio * path.stat().st_size):
                raise Refused("bomb")


def _chunks(group: pq.RowGroupMetaData) -> list[pq.ColumnChunkMetaData]:
    return [group.column(number) for number in range(group.num_columns)]


def _is_known(chunk: pq.ColumnChunkMetaData, known: frozenset[str]) -> bool:
    return any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(f"{name}.") for name in known)


def _is_text(chunk: pq.ColumnChunkMetaData) -> bool:
    return bool(chunk.physical_type == "BYTE_ARRAY")


def _unpacked(array: pa.Array) -> int:
    """Bytes of a column once every value is written out."""
    if pa.types.is_struct(array.type):
        return sum(_unpacked(child) for child in array.flatten())
    values = array.dictionary if pa.types.is_dictionary(array.type) else array
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return int(array.nbytes)
    lengths = pc.binary_length(values)
    if (pc.max(lengths).as_py() or 0) > MAX_LINE_BYTES:
        raise Refused("oversized")
    return int(pc.sum(lengths.take(array.indices) if values is not array else lengths).as_py() or 0)


def _leaves(schema: pa.Schema, known: Iterable[str]) -> tuple[dict[str, pa.DataType], int]:
    """Known column or key path → type, and how many others there are. Each once: DuckDB does not tell `a` from `A`."""
    wanted, found = set(known), dict[str, pa.DataType]()
    dropped = _walk(schema, "", wanted, found)
    if wanted - found.keys():
        raise Refused("missing_column")
    if dropped > MOST_UNKNOWN_COLUMNS:
        raise Refused("unknown_column")
    return found, dropped


def _walk(fields: Iterable[pa.Field], prefix: str, wanted: set[str], found: dict[str, pa.DataType]) -> int:
    seen: set[str] = set()
    dropped = 0
    for field in fields:
        path = prefix + field.name
        below = {name for name in wanted if name.startswith(f"{path}.")}
        if field.name.casefold() in seen:
            raise Refused("repeated_column")
        seen.add(field.name.casefold())
        if "." in field.name or (path not in wanted and not below):
            dropped += 1
        elif path in wanted:
            found[path] = field.type
        elif pa.types.is_struct(field.type):
            dropped += _walk(field.type, f"{path}.", wanted, found)
        elif pa.types.is_null(field.type):
            found.update(dict.fromkeys(below, pa.null()))
        else:
            raise Refused("contract_broken")
    return dropped


def _check_types(leaves: dict[str, pa.DataType], source: Source, feed: Feed) -> None:
    fields = {field.name: field for field in source.fields}
    for name, column in columns_of(feed).items():
        kind = leaves[column.column]
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        fits = is_text if column.extract is not None else _fits(kind, is_text, fields[name], source)
        if not (fits or pa.types.is_null(kind)):
            raise Refused("contract_broken")


def _fits(kind: pa.DataType, is_text: bool, field: SourceField, source: Source) -> bool:
    """Whether every value of the type is one of the field's. A number in quotes is no number here."""
    is_whole = pa.types.is_integer(kind) and kind != pa.uint64()
    is_instant, form = field.name == source.occurred_at.field, source.occurred_at.format
    by_type: dict[str, bool] = {
        "string": is_text
        or (is_instant and form == "iso8601" and pa.types.is_timestamp(kind))
        or (is_instant and form in EPOCH_DIGITS and is_whole),
        "integer": is_whole,
        "number": is_whole or pa.types.is_float32(kind) or pa.types.is_float64(kind) or pa.types.is_decimal(kind),
        "boolean": pa.types.is_boolean(kind),
    }
    return by_type[field.type]
