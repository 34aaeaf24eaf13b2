"""What one run of ingestion did, in numbers; and the record of each refused file, kept for as long as it lies there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orchestration.atomic import write_json
from orchestration.home import Home
from orchestration.ingestion.lake import Manifest
from orchestration.ingestion.refusal import Refused


@dataclass(frozen=True)
class RefusedFile:
    """A file that was not read. It stays in landing and is reported in every run until it is replaced."""

    file: str
    reason: str
    line: int | None

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" + (f" (line {self.line})" if self.line else "")


@dataclass
class SourceReport:
    """Rows and files of one source in this run."""

    source: str
    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    suppressed: int = 0  # rows of people who were erased
    quarantined_by_reason: Counter[str] = field(default_factory=Counter)
    dropped_fields: int = 0  # that policy does not name, over all rows
    files: int = 0  # read now
    redelivered: int = 0  # the same bytes again: nothing to do
    waiting: int = 0  # no completion marker yet
    refused: list[RefusedFile] = field(default_factory=list)

    def add(self, manifest: Manifest) -> None:
        self.read += manifest.read
        self.accepted += manifest.accepted
        self.duplicates += manifest.duplicates
        self.quarantined += manifest.quarantined
        self.suppressed += manifest.suppressed
        self.quarantined_by_reason.update(manifest.quarantined_by_reason)
        self.dropped_fields += manifest.dropped_fields
        self.files += 1

    def counts(self) -> dict[str, int]:
        """Numbers only, for metadata and logs."""
        return {
            "read": self.read,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "suppressed": self.suppressed,
            "dropped_fields": self.dropped_fields,
            "files": self.files,
            "redelivered_files": self.redelivered,
            "waiting_files": self.waiting,
            "refused_files": len(self.refused),
        }


def refusal_path(home: Home, source: str, batch: str) -> Path:
    return home.lake / "refused" / source / f"{batch}.json"


def refusals(home: Home, source: str) -> list[Path]:
    """The records of a source: one for each refused file that was there when it was last ingested."""
    return sorted((home.lake / "refused" / source).glob("*.json"))


def forget_refusals(home: Home, source: str, *, but: Collection[str]) -> None:
    """Drops the records of files that were replaced or taken away: all but those of the batches `but`."""
    for path in refusals(home, source):
        if path.stem not in but:
            path.unlink()


def record_refusal(home: Home, source: str, feed: str, file: str, batch: str, refused: Refused, now: datetime) -> None:
    """Keeps why a file was refused, once per content: since when is part of it."""
    path = refusal_path(home, source, batch)
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"source": source, "feed": feed, "file": file, "batch": batch, "reason": refused.reason}
    write_json(path, {**content, "line": refused.line, "recorded_at": now.isoformat()})
