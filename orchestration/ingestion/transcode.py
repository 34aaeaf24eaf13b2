"""Streams a landing file into verified UTF-8: gzip checked to its last byte, encoding strict, sizes bounded.

DuckDB accepts a wrong CRC, reads no GB18030 and quotes raw lines in its errors (faults C1-C5), so it only sees what
has passed here."""

from __future__ import annotations

import codecs
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from orchestration.ingestion.refusal import Limits, Refused

CHUNK = 1 << 20
RATIO_FLOOR = 8 << 20  # below this size a high ratio is ordinary repetition, not a bomb
GZIP_WBITS = 31


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of the file's bytes as delivered."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def transcode(path: Path, compression: Literal["none", "gzip"], encoding: str, target: Path, limits: Limits) -> str:
    """Writes `path` as UTF-8 without BOM to `target` (0600, must not exist). Returns the SHA-256 of the input bytes.

    Raises Refused; `target` may then hold a part of the file, and the caller removes it."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out, path.open("rb") as source:
        raw = _raw_chunks(source, digest)
        plain = _inflated(raw, limits) if compression == "gzip" else raw
        written = _write_utf8(_bounded(plain, limits), encoding, out)
    if written == 0:
        raise Refused("empty")
    return digest.hexdigest()


def _raw_chunks(source: BinaryIO, digest: hashlib._Hash) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        yield chunk


def _inflated(chunks: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    """Decompresses one or more gzip members; zlib checks every CRC and length before the last piece is out."""
    member: zlib._Decompress | None = zlib.decompressobj(GZIP_WBITS)
    consumed = produced = 0
    for chunk in chunks:
        consumed += len(chunk)
        pending = chunk
        while pending:
            if member is None:
                pending = pending.lstrip(b"\0")  # padding after a member is allowed (RFC 1952 tools write it)
                member = zlib.decompressobj(GZIP_WBITS) if pending else None
                continue
            piece, pending = _step(member, pending)
            produced += len(piece)
            if produced > RATIO_FLOOR and produced > limits.max_ratio * consumed:
                raise Refused("bomb")
            yield piece
            if member.eof:
                pending, member = member.unused_data, None
    if member is not None and consumed:
        raise Refused("truncated")


def _step(member: zlib._Decompress, data: bytes) -> tuple[bytes, bytes]:
    failed = False
    piece = b""
    try:
        piece = member.decompress(data, CHUNK)
    except zlib.error:
        failed = True
    if failed:
        raise Refused("corrupt")
    return piece, member.unconsumed_tail


def _bounded(chunks: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    """Stops at the file's and the line's limit. Chunks are shorter than a line may be."""
    total = run = 0
    for chunk in chunks:
        total += len(chunk)
        if total > limits.max_bytes:
            raise Refused("bomb")
        first = chunk.find(b"\n")
        run += len(chunk) if first < 0 else first
        if run > limits.max_line_bytes:
            raise Refused("oversized")
        if first >= 0:
            run = len(chunk) - chunk.rfind(b"\n") - 1
        yield chunk


def _write_utf8(chunks: Iterator[bytes], encoding: str, out: BinaryIO) -> int:
    """Writes `chunks` as UTF-8 and returns the number of bytes. A leading BOM is dropped whatever the encoding."""
    is_utf8 = encoding in ("utf-8", "utf-8-sig")
    decoder = codecs.getincrementaldecoder("utf-8" if is_utf8 else encoding)("strict")
    lines = written = 0
    at_start = True
    for chunk in chunks:
        piece = _verified(decoder, chunk, lines, keep=is_utf8)
        lines += chunk.count(b"\n")
        if at_start and piece:
            piece, at_start = piece.removeprefix(codecs.BOM_UTF8), False
        written += out.write(piece)
    _verified(decoder, b"", lines, final=True)
    return written


def _verified(
    decoder: codecs.IncrementalDecoder, chunk: bytes, lines: int, *, keep: bool = False, final: bool = False
) -> bytes:
    """The chunk in UTF-8; with `keep` it is UTF-8 already and only verified."""
    bad: int | None = None
    piece = b""
    try:
        text = decoder.decode(chunk, final)
        piece = chunk if keep else text.encode("utf-8")  # GB18030 can name surrogates, which are not text
    except UnicodeError as error:
        bad = lines + 1 + chunk[: max(getattr(error, "start", 0), 0)].count(b"\n")
    if bad is not None:
        raise Refused("wrong_encoding", bad)
    return piece
