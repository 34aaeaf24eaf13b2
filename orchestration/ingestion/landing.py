"""Finds what has been delivered: the files of a feed, their business day, and whether they are complete."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from orchestration.policy.schema import ConsentFeed, Feed


@dataclass(frozen=True)
class Delivery:
    """One file of a feed in landing. `name` is relative to landing."""

    path: Path
    name: str
    day: date | None
    marker: Path | None  # of a feed with completion markers
    is_complete: bool  # the marker is there; a feed without markers never says that a day is complete

    @property
    def is_waiting(self) -> bool:
        return self.marker is not None and not self.is_complete


def deliveries(landing: Path, feed: Feed | ConsentFeed) -> list[Delivery]:
    """The feed's files in landing, in order of name."""
    if feed.path is None:
        return []
    before, placeholder, after = feed.path.partition("{day}")
    pattern = glob.escape(before) + ("*" if placeholder else "") + glob.escape(after)
    found = []
    for path in sorted(landing.glob(pattern)):
        name = path.relative_to(landing).as_posix()
        day = _day(name[len(before) : len(name) - len(after)], feed.day_format) if placeholder else None
        if (placeholder and day is None) or not (path.is_file() or path.is_symlink()):
            continue
        marker = path.with_name(path.name + feed.marker) if feed.marker else None
        found.append(Delivery(path, name, day, marker, marker is not None and marker.is_file()))
    return found


def _day(text: str, form: str) -> date | None:
    """Strictly in the feed's form: `2024-1-5` is not `2024-01-05`, so no day has two names."""
    try:
        day = datetime.strptime(text, form).date()
    except ValueError:
        return None
    return day if day.strftime(form) == text else None
