"""Puts lines into the files of each day, named, packed, encoded and marked complete as the feed's policy says."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

from orchestration.demo.rows import Calendar, Ints
from orchestration.demo.shapes import TILL_HEADER
from orchestration.errors import AssentError
from orchestration.policy.schema import ConsentFeed, Feed

Days = list[list[str]]  # the lines of each day


def by_day(lines: list[str], received: Ints, calendar: Calendar) -> Days:
    """Splits lines, which are in the order of `received` days, into the days."""
    indexes = calendar.day_index(received)
    bounds = [int(bound) for bound in indexes.searchsorted(range(calendar.day_count + 1))]
    return [lines[low:high] for low, high in pairwise(bounds)]


def write_days(landing: Path, feed: Feed | ConsentFeed, days: Days, calendar: Calendar) -> int:
    """Writes one file a day, and last its marker, which states what it completes. Returns how many files."""
    pack = _packing(feed)
    for index, lines in enumerate(days):
        path = day_path(landing, feed, calendar.day(index))
        path.parent.mkdir(parents=True, exist_ok=True)
        content = pack(lines)
        path.write_bytes(content)
        if feed.marker:
            stated = {"rows": len(lines), "sha256": hashlib.sha256(content).hexdigest()}
            path.with_name(path.name + feed.marker).write_text(json.dumps(stated) + "\n", "utf-8")
    return len(days)


def day_path(landing: Path, feed: Feed | ConsentFeed, day: date) -> Path:
    """Where the file of `day` belongs."""
    if feed.path is None:
        raise AssentError("the feed has no path", where=f"sources.yaml: {feed.name}", remedy="The demo needs one")
    return landing / feed.path.replace("{day}", day.strftime(feed.day_format))


def _packing(feed: Feed | ConsentFeed) -> Callable[[list[str]], bytes]:
    def pack(lines: list[str]) -> bytes:
        if feed.format == "csv":
            lines = [TILL_HEADER, *lines, f"合计,,,,,,,共{len(lines)}行,,,,"]
        raw = ("\n".join(lines) + "\n").encode(feed.encoding)
        if isinstance(feed, Feed) and feed.compression == "gzip":
            return gzip.compress(raw, compresslevel=6, mtime=0)  # no time inside: the same bytes every time
        return raw

    return pack
