"""Opens deliveries, several at a time: what is new becomes verified text in the home's tmp, the rest is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestration.home import Home
from orchestration.ingestion.columnar import open_parquet
from orchestration.ingestion.completeness import check_end, statement_of
from orchestration.ingestion.lake import batch_of
from orchestration.ingestion.landing import Delivery, deliveries
from orchestration.ingestion.readers import open_hashed
from orchestration.ingestion.refusal import Limits, Refused
from orchestration.ingestion.tables import dump_table
from orchestration.ingestion.transcode import sha256_of
from orchestration.policy.schema import Feed, Source

# Files are loaded in groups: a night's work is one file per feed, a backlog hundreds of small ones.
GROUP_BYTES = 128 << 20
GROUP_FILES = 500
Known = dict[str, int | None]  # batch → its rows; None in the run that reads it


@dataclass
class Intake:
    """One delivery on its way in."""

    delivery: Delivery
    batch: str
    input_sha256: str
    text: Path | None = None  # verified, in tmp: UTF-8, or Parquet
    is_known: bool = False  # a manifest has it already
    refused: Refused | None = None
    stated_rows: int | None = None  # by its marker


def intakes(home: Home, source: Source, feed: Feed, landing: Path, known: Known) -> Iterator[Intake]:
    """Every delivery of the feed that is complete, hashed and, where it is new, verified or refused."""
    if feed.format == "table":
        yield from _table(home, source, feed, known)
        return
    for delivery in deliveries(landing, feed):
        if not delivery.is_waiting:
            yield _file(home, source, feed, delivery, known)


def _file(home: Home, source: Source, feed: Feed, delivery: Delivery, known: Known) -> Intake:
    intake = Intake(delivery, batch_of(source.name, feed.name, delivery.day, delivery.name), "")
    try:
        if delivery.path.is_symlink():  # it may lead anywhere (fault C4)
            raise Refused("unreadable")
        intake.input_sha256 = _hash(delivery.path)
        intake.batch = batch_of(source.name, feed.name, delivery.day, intake.input_sha256)
        intake.is_known = intake.batch in known
        stated = statement_of(delivery)
        stated.hold_sha256(intake.input_sha256)
        if (rows := known.get(intake.batch)) is not None:
            stated.hold_rows(rows)
        if not intake.is_known:
            stated.require(feed)
            intake.stated_rows = stated.rows
            intake.text, read = _open(home, source, feed, delivery.path)
            if read != intake.input_sha256:  # somebody is still writing it
                raise Refused("unreadable")
            check_end(intake.text, feed)
    except Refused as refused:
        intake.refused = refused
    return intake


def _open(home: Home, source: Source, feed: Feed, path: Path) -> tuple[Path, str]:
    if feed.format == "parquet":
        return open_parquet(path, source, feed, home.tmp)
    return open_hashed(path, feed.compression, feed.encoding, home.tmp, Limits.of(feed))


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        pass
    raise Refused("unreadable")


def _table(home: Home, source: Source, feed: Feed, known: Known) -> Iterator[Intake]:
    delivery = Delivery(Path(), f"table {feed.table}", None, None, False)
    try:
        text = dump_table(feed, home.tmp)
    except Refused as refused:
        yield Intake(delivery, batch_of(source.name, feed.name, None, ""), "", refused=refused)
        return
    digest = sha256_of(text)
    batch = batch_of(source.name, feed.name, None, digest)
    if batch in known:
        text.unlink()
    yield Intake(delivery, batch, digest, None if batch in known else text, batch in known)


def grouped(items: Iterator[Intake]) -> Iterator[list[Intake]]:
    """Groups of what is to be loaded together; every intake comes once, in order."""
    group: list[Intake] = []
    size = 0
    for item in items:
        group.append(item)
        size += item.text.stat().st_size if item.text is not None else 0
        if size >= GROUP_BYTES or len(group) >= GROUP_FILES:
            yield group
            group, size = [], 0
    if group:
        yield group
