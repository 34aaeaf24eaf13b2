"""When people do things and which things: the draws that every source shares. The sources' own shapes are not here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestration.demo.rows import DAY, HOUR, Bools, Calendar, Ints, Objects

# Share of a day's events by local hour: quiet nights, busy evenings.
HOURS = np.array([1, 1, 0, 0, 0, 0, 1, 2, 4, 5, 6, 6, 7, 5, 5, 5, 5, 6, 7, 9, 10, 8, 5, 2], dtype=float)
SHOP_HOURS = np.array([0] * 10 + [4, 6, 7, 6, 7, 8, 8, 7, 7, 6, 5, 3] + [0, 0], dtype=float)
ITEMS = 120
SENSITIVE_SHARE = 0.05  # of the items people ask about


class Acts(NamedTuple):
    """Who did something and when: one entry per event."""

    person: Ints
    at: Ints


def acts(
    rng: np.random.Generator,
    calendar: Calendar,
    per_person: NDArray[np.float64],
    hours: NDArray[np.float64] = HOURS,
) -> Acts:
    """Events over the days of the world, `per_person` of them on average for each person."""
    counts = rng.poisson(per_person)
    return act_times(rng, calendar, np.repeat(np.arange(len(per_person), dtype=np.int64), counts), hours)


def once(rng: np.random.Generator, calendar: Calendar, who: Bools, until: float = 1.0) -> Acts:
    """One event for each of `who`, in the first `until` share of the days."""
    return act_times(rng, calendar, np.flatnonzero(who).astype(np.int64), HOURS, until)


def act_times(
    rng: np.random.Generator, calendar: Calendar, person: Ints, hours: NDArray[np.float64], until: float = 1.0
) -> Acts:
    """An instant for each entry of `person`; what would fall outside the world is left out."""
    count = len(person)
    day = (rng.random(count) * max(1.0, calendar.day_count * until)).astype(np.int64)
    hour = np.searchsorted(np.cumsum(hours / hours.sum()), rng.random(count)).astype(np.int64)
    at = calendar.first_midnight + day * DAY + np.minimum(hour, 23) * HOUR + rng.integers(0, HOUR, count)
    inside = (at >= calendar.start) & (at < calendar.as_of)
    return Acts(person[inside], at[inside])


def choose(rng: np.random.Generator, count: int, weights: dict[str, float]) -> Objects:
    """`count` names, drawn by weight."""
    shares = np.cumsum(np.array(list(weights.values())) / sum(weights.values()))
    picked = np.minimum(np.searchsorted(shares, rng.random(count)), len(weights) - 1)
    return np.array(list(weights), dtype=object)[picked]


def items(rng: np.random.Generator, count: int) -> Objects:
    """What people look at: goods, and now and then a treatment, which makes the event sensitive."""
    names = np.array([f"sku-{n:03d}" for n in range(ITEMS)] + [f"med-{n:02d}" for n in range(8)], dtype=object)
    goods = rng.integers(0, ITEMS, count)
    treatments = ITEMS + rng.integers(0, 8, count)
    return names[np.where(rng.random(count) < SENSITIVE_SHARE, treatments, goods)]


def prices(rng: np.random.Generator, usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """A price around what the person usually spends, in whole fen."""
    return np.round(usual * (0.4 + 1.4 * rng.random(len(usual))), 2)


def delayed(rng: np.random.Generator, at: Ints, calendar: Calendar, share: float, days: int) -> Ints:
    """When events reach us: at once, but for a `share` that is up to `days` late (a device was offline)."""
    wait: Ints = np.where(rng.random(len(at)) < share, rng.random(len(at)) * days * DAY, 0).astype(np.int64)
    return np.asarray(np.minimum(at + wait, calendar.as_of - 1), dtype=np.int64)
