"""The log of deliveries: which contact points (as tokens) became deliverable where and when, and who is to go.

The warehouse reads it for frequency caps; the removal lists are computed from it. No plain value is ever in it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from orchestration.atomic import replace
from orchestration.home import Home

SCHEMA = pa.schema(
    [
        ("token", pa.string()),
        ("destination", pa.string()),
        ("delivered_at", pa.timestamp("us")),  # UTC
        ("segment", pa.string()),
        ("generation", pa.string()),
    ]
)


def folder(home: Home) -> Path:
    return home.evidence / "deliveries"


def delivered(home: Home, segment: str, destination: str, generation: str | None = None) -> set[str]:
    """The tokens ever delivered to `destination` for `segment` (by one generation)."""
    files = sorted(str(path) for path in folder(home).glob(f"{segment}__{destination}__*.parquet"))
    if not files:
        return set()
    wanted = (ds.field("segment") == segment) & (ds.field("destination") == destination)
    if generation is not None:
        wanted &= ds.field("generation") == generation
    found = ds.dataset(files, schema=SCHEMA, format="parquet").to_table(columns=["token"], filter=wanted)
    return set(found["token"].to_pylist())


def record(
    home: Home, segment: str, destination: str, generation: str, tokens: Collection[str], *, now: datetime
) -> int:
    """Notes who is about to become deliverable; those this generation already noted are not counted twice (A7).

    It comes before the manifest: after a kill between the two a removal list may name too many, never too few."""
    new = sorted(set(tokens) - delivered(home, segment, destination, generation))
    if not new:
        return 0
    place = folder(home)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    columns = [new, [destination] * len(new), [_utc(now)] * len(new), [segment] * len(new), [generation] * len(new)]
    table = pa.table(columns, schema=SCHEMA)
    digest = hashlib.sha256("".join(new).encode()).hexdigest()[:16]
    aside = home.tmp / f"tmp_delivery_{digest}.parquet"
    pq.write_table(table, aside)
    replace(aside, place / f"{segment}__{destination}__{generation}__{digest}.parquet")
    return len(new)


def outstanding(home: Home) -> list[dict[str, object]]:
    """Who received what (R-85, F12): per segment, destination and generation the people and the last time."""
    files = sorted(str(path) for path in folder(home).glob("*.parquet"))
    if not files:
        return []
    table = ds.dataset(files, schema=SCHEMA, format="parquet").to_table()
    keys = ["segment", "destination", "generation"]
    grouped = table.group_by(keys).aggregate([("token", "count_distinct"), ("delivered_at", "max")])
    return [
        {
            **{key: row[key] for key in keys},
            "people": row["token_count_distinct"],
            "delivered_at": row["delivered_at_max"].replace(tzinfo=UTC).isoformat(),
        }
        for row in sorted(grouped.to_pylist(), key=lambda row: tuple(row[key] for key in keys))
    ]


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
