"""What is left of the files that a generation read, and of what is not, why: erased, past retention, or unexplained.

Not here: rebuilding from what is left (`replay.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.evidence.removed import (
    Cause,
    Noted,
    are_links_past,
    by_path,
    follow,
    is_past_retention,
    notes_of_removal,
)
from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.warehouse.archive import FILES
from orchestration.warehouse.gate import file_sha256

State = Literal["whole", "rewritten", "gone", "changed"]


@dataclass(frozen=True)
class FoundFile:
    """One file of then: what became of it, by which cause, and how many of its rows are not there any more."""

    kind: str
    source: str | None
    day: date | None
    path: str
    state: State
    cause: Cause | None
    rows_gone: int
    now_at: str | None  # where what is left of it lies

    @property
    def is_unexplained(self) -> bool:
        return self.cause == "unexplained"


@dataclass(frozen=True)
class Survey:
    """Every file of then that is not whole, and the files to rebuild from (FILES)."""

    missing: tuple[FoundFile, ...]
    left: pa.Table
    files: int

    def rows_gone(self) -> dict[str, dict[str, int]]:
        """Kind of file → cause → rows."""
        counted: dict[str, Counter[str]] = {}
        for file in self.missing:
            counted.setdefault(file.kind, Counter())[str(file.cause)] += file.rows_gone
        return {kind: dict(sorted(counts.items())) for kind, counts in sorted(counted.items())}

    def causes(self, kind: str) -> list[tuple[str | None, date | None, str]]:
        return sorted({(f.source, f.day, str(f.cause)) for f in self.missing if f.kind == kind}, key=str)


def survey(home: Home, files: pa.Table, policies: Sequence[Policy], *, now: datetime) -> Survey:
    """Looks every archived file up, by its bytes. `policies`, of then and of now, say what is past retention."""
    noted = by_path(notes_of_removal(home))
    missing, left = [], []
    for row in files.to_pylist():
        if row["path"] is None:
            left.append(row)
            continue
        found = _look(home, row, noted, policies, now)
        if found.state != "whole":
            missing.append(found)
        if found.now_at is not None:
            left.append({**row, "path": found.now_at})
        elif row["batch"] is not None:
            left.append({**row, "path": None})  # the batch was complete then, whatever became of its rows
    return Survey(tuple(missing), pa.Table.from_pylist(left, schema=FILES), len(files))


def _look(home: Home, row: dict[str, Any], noted: Noted, policies: Sequence[Policy], now: datetime) -> FoundFile:
    path = home.root / row["path"]
    if path.is_file() and file_sha256(path) == row["sha256"]:
        return _found(row, "whole", None, 0, row["path"])
    rests = follow(noted, row["path"])
    for rest in rests:
        there = None if rest.path is None else home.root / rest.path
        if there is not None and there.is_file() and file_sha256(there) == rest.sha256:
            return _found(row, "rewritten", rest.cause, row["rows"] - pq.read_metadata(there).num_rows, rest.path)
    causes = {rest.cause for rest in rests if rest.path is None}
    if causes and not path.is_file():
        return _found(row, "gone", "erasure" if "erasure" in causes else "retention", row["rows"], None)
    if path.is_file():
        return _found(row, "changed", "unexplained", row["rows"], None)
    is_past = (
        are_links_past(policies, row["day"], now)
        if row["kind"] == "links"
        else row["kind"] == "touchpoints" and is_past_retention(policies, row["source"], row["day"], now)
    )
    return _found(row, "gone", "retention" if is_past else "unexplained", row["rows"], None)


def _found(row: dict[str, Any], state: State, cause: Cause | None, rows_gone: int, now_at: str | None) -> FoundFile:
    return FoundFile(row["kind"], row["source"], row["day"], row["path"], state, cause, rows_gone, now_at)
