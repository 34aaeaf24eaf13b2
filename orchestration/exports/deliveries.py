"""The log of deliveries: which contact points (as tokens) became deliverable where and when, and when they left again.

The warehouse reads it for frequency caps; the removal lists are computed from it. No plain value is ever in it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.atomic import replace
from orchestration.home import Home
from orchestration.parquet import read_table

SCHEMA = pa.schema(
    [
        ("token", pa.string()),
        ("destination", pa.string()),
        ("delivered_at", pa.timestamp("us")),  # UTC; of a removal: when it was written
        ("segment", pa.string()),
        ("generation", pa.string()),
    ]
)


Log = Literal["deliveries", "removals"]


def log(home: Home, name: Log, segment: str = "*", destination: str = "*") -> pa.Table:
    """All that is noted (SCHEMA), of one segment and destination if named."""
    files = sorted((home.evidence / name).glob(f"{segment}__{destination}__*.parquet"))
    table = pa.concat_tables([SCHEMA.empty_table(), *(read_table(file, SCHEMA) for file in files)])
    for column, value in {"segment": segment, "destination": destination}.items():
        if value != "*":
            table = table.filter(pc.field(column) == value)
    return table


def delivered(home: Home, segment: str, destination: str, generation: str | None = None) -> set[str]:
    """The tokens ever delivered to `destination` for `segment` (by one generation)."""
    found = log(home, "deliveries", segment, destination)
    if generation is not None:
        found = found.filter(pc.field("generation") == generation)
    return set(found["token"].to_pylist())


def record(
    home: Home, segment: str, destination: str, generation: str, tokens: Collection[str], *, now: datetime
) -> int:
    """Notes who is about to become deliverable; those this generation already noted are not counted twice (A7), unless
    they were removed in between.

    It comes before the manifest: after a kill between the two a removal list may name too many, never too few."""
    there = _present(home, segment, destination) & delivered(home, segment, destination, generation)
    return _note(home, "deliveries", segment, destination, generation, set(tokens) - there, now)


def record_removals(
    home: Home, segment: str, destination: str, generation: str, kept: Collection[str], *, now: datetime
) -> int:
    """Notes who has just left: delivered, not among `kept`, and not noted since. It comes after the manifest, and
    again with the next export where that was killed."""
    return _note(
        home, "removals", segment, destination, generation, _present(home, segment, destination) - set(kept), now
    )


def _present(home: Home, segment: str, destination: str) -> set[str]:
    """Whose last delivery no removal has followed."""
    came = _last(log(home, "deliveries", segment, destination))
    left = _last(log(home, "removals", segment, destination))
    return {token for token, at in came.items() if token not in left or left[token] < at}


def _last(table: pa.Table) -> dict[str, datetime]:
    grouped = table.group_by("token").aggregate([("delivered_at", "max")])
    return dict(zip(grouped["token"].to_pylist(), grouped["delivered_at_max"].to_pylist(), strict=True))


def _note(
    home: Home, name: Log, segment: str, destination: str, generation: str, tokens: Collection[str], now: datetime
) -> int:
    if not tokens:
        return 0
    new, place = sorted(tokens), home.evidence / name
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    columns = [new, [destination] * len(new), [_utc(now)] * len(new), [segment] * len(new), [generation] * len(new)]
    digest = hashlib.sha256(f"{now.isoformat()}{''.join(new)}".encode()).hexdigest()[:16]
    aside = home.tmp / f"tmp_delivery_{digest}.parquet"
    pq.write_table(pa.table(columns, schema=SCHEMA), aside)
    replace(aside, place / f"{segment}__{destination}__{generation}__{digest}.parquet")
    return len(new)


def outstanding(home: Home) -> list[dict[str, Any]]:
    """Who received what (R-85, F12): per segment, destination and generation the people and the last time."""
    table = log(home, "deliveries")
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
