"""The lake on disk: Parquet by source and business day, and the manifests that alone say what exists.

A file that no manifest lists is a leftover of a killed run: readers never see it, and `sweep` removes it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestration.home import Home
from orchestration.ingestion.durable import settle

NOT_SOURCES = ("consent_",)  # the consent importer keeps its own manifests beside ours


class Manifest(BaseModel):
    """One delivered file that is in the lake. `read = accepted + duplicates + quarantined + suppressed`, asserted; the
    lake holds `accepted` rows of it less those `removed` since. A batch outlives its rows: what came again is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    feed: str
    batch: str
    input_sha256: str
    file: str
    day: date | None
    is_complete: bool
    read: int
    accepted: int
    duplicates: int
    quarantined: int
    without_effect: int = 0  # of a consent feed: payloads that say nothing of any scope of ours
    suppressed: int = 0  # of people who were erased: counted, and not taken (F5)
    quarantined_by_reason: dict[str, int]
    dropped_fields: int = 0  # that policy does not name, over all rows read: they went no further
    files: list[str]  # relative to the lake
    links_file: str | None
    recorded_at: datetime
    removed: dict[str, int] = {}  # rows that are no longer in the lake, by cause: erasure or retention


def batch_of(source: str, feed: str, day: date | None, input_sha256: str) -> str:
    """The id of a delivery: equal bytes of another feed or day are another delivery (two shops closed on one day)."""
    return hashlib.sha256(f"{source}|{feed}|{day or ''}|{input_sha256}".encode()).hexdigest()[:32]


def manifest_path(home: Home, source: str, batch: str) -> Path:
    return home.lake / "manifests" / source / f"{batch}.json"


def write_manifests(home: Home, batches: Sequence[Manifest]) -> None:
    """Makes batches exist, durably. Everything that they list must be durable before."""
    moves = []
    for manifest in batches:
        accounted = manifest.accepted + manifest.duplicates + manifest.quarantined + manifest.without_effect
        accounted += manifest.suppressed
        if manifest.read != accounted:
            raise AssertionError(f"{manifest.source}/{manifest.batch}: rows read and rows accounted for differ")
        if sum(manifest.removed.values()) > manifest.accepted:
            raise AssertionError(f"{manifest.source}/{manifest.batch}: more rows removed than there were")
        aside = home.tmp / f"manifest-{manifest.batch}.json"
        content = json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=2, sort_keys=True)
        aside.write_text(content + "\n", "utf-8")
        moves.append((aside, manifest_path(home, manifest.source, manifest.batch)))
    settle(moves)


def write_manifest(home: Home, manifest: Manifest) -> None:
    """Makes one batch exist (see `write_manifests`)."""
    write_manifests(home, [manifest])


def manifests(home: Home, source: str | None = None) -> list[Manifest]:
    """Every batch of a source (or of all), in order of source, day, feed and batch."""
    root = home.lake / "manifests"
    folders = [root / source] if source else [f for f in root.glob("*") if not f.name.startswith(NOT_SOURCES)]
    found = [
        Manifest.model_validate_json(path.read_bytes())
        for folder in folders
        for path in folder.glob("*.json")
        if not path.name.startswith(".")
    ]
    return sorted(found, key=lambda m: (m.source, m.day or date.min, m.feed, m.batch))


def lake_files(home: Home, source: str) -> list[Path]:
    """The Parquet files of a source."""
    return sorted(home.lake / name for manifest in manifests(home, source) for name in manifest.files)


def link_files(home: Home) -> list[Path]:
    """The Parquet files of links, of every source."""
    return sorted(home.lake / manifest.links_file for manifest in manifests(home) if manifest.links_file)


def lake_hash(home: Home) -> str:
    """SHA-256 (hex) of what the lake holds; when it was recorded does not count."""
    digest = hashlib.sha256()
    for manifest in manifests(home):
        content = manifest.model_dump(mode="json", exclude={"recorded_at"})
        digest.update(json.dumps(content, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def source_totals(home: Home, source: str) -> dict[str, int]:
    """Over every batch of a source: rows read, accepted, duplicates, quarantined, and removed of the accepted; fields
    dropped at the door."""
    names = ("read", "accepted", "duplicates", "quarantined", "suppressed", "dropped_fields")
    totals = Counter[str](dict.fromkeys((*names, "removed"), 0))
    for manifest in manifests(home, source):
        totals["removed"] += sum(manifest.removed.values())
        for name in names:
            totals[name] += getattr(manifest, name)
    return dict(totals)


def sweep(home: Home, *sources: str) -> int:
    """Removes files of the sources, and links, that no manifest lists. Call it with the home's lock held."""
    listed = manifests(home)
    keep = {home.lake / name for m in listed for name in (*m.files, *([m.links_file] if m.links_file else []))}
    keep |= {quarantine_path(home, m.source, m.batch) for m in listed if m.quarantined}
    present: Iterable[Path] = (
        *(path for source in sources for path in (home.lake / source).glob("day=*/*.parquet")),
        *(home.lake / "links").glob("*.parquet"),
        *(path for source in sources for path in (home.quarantine / source).glob("*.parquet")),
    )
    leftovers = [path for path in present if path not in keep]
    for path in leftovers:
        path.unlink()
    return len(leftovers)


def quarantine_path(home: Home, source: str, batch: str) -> Path:
    return home.quarantine / source / f"{batch}.parquet"
