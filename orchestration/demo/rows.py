"""Rows of one feed as columns, and the days they fall into. What the columns hold is the activity modules' business."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Objects = NDArray[Any]  # text or None, dtype object

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000  # in milliseconds, the unit of every instant here


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each part, so that changing one part leaves the others as they were."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class Calendar:
    """The days of the world. Instants are epoch milliseconds in UTC; days are those of the policy's zone."""

    as_of: int
    start: int
    offset: int  # of the zone from UTC at `as_of`; the demo's zone has no daylight saving
    first_day: date
    day_count: int

    @classmethod
    def of(cls, as_of: datetime, days: int, zone: str) -> Calendar:
        """The `days` days that end at `as_of` (exclusive)."""
        local = as_of.astimezone(ZoneInfo(zone))
        offset = int((local.utcoffset() or timedelta()).total_seconds() * SECOND)
        end = int(as_of.timestamp() * SECOND)
        start = end - days * DAY
        first = (start + offset) // DAY
        last = (end - 1 + offset) // DAY
        return cls(end, start, offset, date(1970, 1, 1) + timedelta(days=first), last - first + 1)

    @property
    def first_midnight(self) -> int:
        """The instant at which the first day begins; `start` lies in that day."""
        return (self.start + self.offset) // DAY * DAY - self.offset

    def day(self, index: int) -> date:
        return self.first_day + timedelta(days=index)

    def day_index(self, instants: Ints) -> Ints:
        return (instants - self.first_midnight) // DAY

    def noons(self) -> Ints:
        """One instant in each day, at noon where that lies in the world."""
        noons = self.first_midnight + np.arange(self.day_count, dtype=np.int64) * DAY + 12 * HOUR
        return np.clip(noons, self.start, self.as_of - 1)


@dataclass(frozen=True)
class Rows:
    """Rows of one feed: when each happened, when it reached us, and its columns."""

    at: Ints
    received: Ints
    columns: dict[str, Objects]

    def __len__(self) -> int:
        return len(self.at)

    def ordered(self, calendar: Calendar) -> Rows:
        """What reached us within the world, in the order of arrival by day, then of happening."""
        day = calendar.day_index(self.received)
        order = np.lexsort((self.at, day))
        kept = order[(self.received[order] >= calendar.start) & (self.received[order] < calendar.as_of)]
        return Rows(self.at[kept], self.received[kept], {name: column[kept] for name, column in self.columns.items()})


def rows(at: Ints, received: Ints | None = None, **columns: Any) -> Rows:
    """Rows from columns; a single value stands for every row."""
    filled = {name: spread(value, len(at)) for name, value in columns.items()}
    return Rows(at, at if received is None else received, filled)


def spread(value: Any, count: int) -> Objects:
    """`value` as a column: arrays as they are, anything else repeated."""
    if isinstance(value, np.ndarray):
        return value.astype(object)
    out = np.empty(count, dtype=object)
    out[:] = value
    return out


def present(values: Objects) -> Bools:
    """Which values there are."""
    return np.fromiter((value is not None for value in values.tolist()), dtype=bool, count=len(values))


def where(mask: Bools, values: Objects) -> Objects:
    """`values` where `mask` holds, else None."""
    out = spread(None, len(values))
    out[mask] = values[mask]
    return out


def join(parts: list[Rows]) -> Rows:
    """All parts under one another; a column that a part lacks is None there."""
    names = sorted({name for part in parts for name in part.columns})
    return Rows(
        np.concatenate([part.at for part in parts]),
        np.concatenate([part.received for part in parts]),
        {name: np.concatenate([part.columns.get(name, spread(None, len(part))) for part in parts]) for name in names},
    )
