"""Erases people from files that are kept sealed or as they landed: quarantined lines, the archive, landing files.

None of these has a column that says whose a line is, so they are opened with the keys and read. A quarantined line goes
and its reason stays, counted; an archived or landed file is dropped whole: its rows are in the lake, and a copy without
one line would be another file than was delivered. Not here: what names somebody (`traces.py`)."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.atomic import replace
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.archive import read_archived
from orchestration.ingestion.lake import batch_of, manifest_path
from orchestration.ingestion.landing import Delivery, deliveries
from orchestration.ingestion.quarantine import COLUMNS, read_quarantine
from orchestration.ingestion.transcode import sha256_of
from orchestration.parquet import read_table
from orchestration.policy.schema import ConsentFeed, Feed, Policy
from orchestration.retention.traces import Traces

ENCODINGS = ("utf-8", "gb18030")  # every text is read in both: which it was, a broken file does not say
GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
PIECE = 1 << 20


def quarantine_files(home: Home) -> list[Path]:
    return sorted(home.quarantine.rglob("*.parquet"))


def strip_quarantine(home: Home, keys: Keys, traces: Traces) -> tuple[int, set[str]]:
    """Removes the lines that name somebody, and their hashes: how many, and of which batches. The rows stay, so that
    the counts of the manifests hold."""
    lines, batches = 0, set[str]()
    for path in quarantine_files(home):
        named = {row_no for row_no, _, line in read_quarantine(keys, path) if line is not None and traces.names(line)}
        if named:
            _forget_lines(home, path, named)
            lines, batches = lines + len(named), batches | {path.stem}
    return lines, batches


def _forget_lines(home: Home, path: Path, named: Collection[int]) -> None:
    rows: list[dict[str, Any]] = read_table(path).to_pylist()
    for row in rows:
        if row["row_no"] in named:
            row["line_hash"] = row["sealed_line"] = None
    aside = home.tmp / f"quarantine-{path.stem}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), aside, compression="zstd")
    aside.chmod(0o600)
    replace(aside, path)


def drop_archived(home: Home, keys: Keys, traces: Traces, batches: Collection[str]) -> int:
    """Drops the encrypted copies of landing files that name somebody: those of `batches`, whose rows the lake, the
    ledger or the quarantine has, and others by what stands in them. How many."""
    gone = [
        path
        for path in sorted(home.archive.rglob("*.sealed"))
        if path.name.split(".")[0] in batches or any(traces.names(text) for text in texts(read_archived(keys, path)))
    ]
    for path in gone:
        path.unlink()
    return len(gone)


@dataclass(frozen=True)
class Landed:
    """What became of files in the home's landing folder that name somebody."""

    dropped: int
    waiting: tuple[str, ...]  # not taken in yet: they would take others' rows with them


def drop_landed(home: Home, policy: Policy, traces: Traces) -> Landed:
    """Drops the landing files of the home that name somebody and are in the lake already, with their markers."""
    known = dict(_taken_in(home, policy))
    dropped, waiting = 0, []
    for path in sorted(path for path in home.landing.rglob("*") if path.is_file()):
        if not any(traces.names(text) for text in texts(_chunks(path))):
            continue
        if path not in known:
            waiting.append(path.relative_to(home.landing).as_posix())
            continue
        marker = known[path].marker
        path.unlink()
        if marker is not None:
            marker.unlink(missing_ok=True)
        dropped += 1
    return Landed(dropped, tuple(waiting))


def _taken_in(home: Home, policy: Policy) -> Iterator[tuple[Path, Delivery]]:
    """The landing files that a manifest says are in the lake or the ledger."""
    feeds: list[tuple[str, Feed | ConsentFeed]] = [
        (source.name, feed) for source in policy.sources.sources for feed in source.feeds
    ]
    feeds += [(f"consent_{feed.name}", feed) for feed in policy.sources.consent_feeds]
    for source, feed in feeds:
        for delivery in deliveries(home.landing, feed):
            if delivery.path.is_symlink():
                continue
            batch = batch_of(source, feed.name, delivery.day, sha256_of(delivery.path))
            if manifest_path(home, source, batch).is_file():
                yield delivery.path, delivery


def texts(chunks: Iterable[bytes]) -> Iterator[str]:
    """What a file says, unpacked and in every encoding that it may have, some thousand lines at a time."""
    first, *rest = _peeked(chunks)
    if first.startswith(PARQUET):
        yield from _parquet_texts(first + b"".join(rest[0] if rest else []))
        return
    stream: Iterable[bytes] = _joined(first, rest)
    yield from _decoded(_unzipped(stream) if first.startswith(GZIP) else stream)


def _peeked(chunks: Iterable[bytes]) -> list[Any]:
    iterator = iter(chunks)
    return [next(iterator, b""), iterator]


def _joined(first: bytes, rest: list[Iterable[bytes]]) -> Iterator[bytes]:
    yield first
    for chunk in rest:
        yield from chunk


def _unzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Members one after the other; what is damaged ends it, as it ended ingestion."""
    unpacker, left = zlib.decompressobj(31), b""
    for chunk in chunks:
        left += chunk
        while left:
            try:
                yield unpacker.decompress(left)
            except zlib.error:
                return
            left = unpacker.unused_data
            if unpacker.eof:
                unpacker = zlib.decompressobj(31)
            elif not left:
                break


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    decoders = [codecs.getincrementaldecoder(name)(errors="replace") for name in ENCODINGS]
    kept = ["" for _ in decoders]
    for chunk in chunks:
        for number, decoder in enumerate(decoders):
            text = kept[number] + decoder.decode(chunk)
            cut = text.rfind("\n") + 1 if len(text) < 2 * PIECE else len(text)
            kept[number] = text[cut:]
            if cut:
                yield text[:cut]
    yield from (text for text in kept if text)


def _parquet_texts(data: bytes) -> Iterator[str]:
    try:
        table = read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError):
        return
    for column in table.columns:
        yield "\n".join(str(value) for value in column.to_pylist() if value is not None)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(PIECE):
            yield chunk
