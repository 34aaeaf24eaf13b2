"""What must have arrived before a build may go on: the folder of a required source, the day of one that is waited for.

Not here: consent feeds, whose silence stops exports instead (`max_staleness_hours`)."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.ingestion.lake import manifests
from orchestration.ingestion.landing import deliveries
from orchestration.policy.schema import Feed, Source


def check_folder(source: Source, landing: Path) -> None:
    """Raises AssentError where `required: true` and no feed of the source has a folder to be delivered to."""
    if not source.required or any(feed.format == "table" for feed in source.feeds):
        return
    folders = sorted({(landing / feed.path).parent for feed in source.feeds if feed.path})
    if not any(folder.is_dir() for folder in folders):
        raise AssentError(
            "the landing folder of a required source is absent",
            where=source.name,
            remedy=f"Deliver to {folders[0] if folders else landing}, or drop `required:` in sources.yaml",
        )


def check_day(home: Home, source: Source, landing: Path, *, as_of: datetime, zone: str) -> None:
    """Raises AssentError where `late: wait` and a feed by day lacks the last business day that closed by `as_of`.

    Call it after the source was ingested: a day is there when the lake has it and nothing of it waits in landing."""
    if source.late != "wait":
        return
    day = last_closed_day(as_of, zone)
    missing = [why for feed in source.feeds if (why := _missing(home, source, feed, landing, day))]
    if missing:
        raise AssentError(
            f"the build waits for {day}: {'; '.join(missing)}",
            where=source.name,
            remedy="Deliver it and run again, or say `late: build_without` in sources.yaml",
        )


def last_closed_day(as_of: datetime, zone: str) -> date:
    """The last day of `zone` that ended at or before `as_of`."""
    return as_of.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)


def _missing(home: Home, source: Source, feed: Feed, landing: Path, day: date) -> str | None:
    """What is wrong with the feed's file of `day`; None where nothing is, or the feed is not delivered by day."""
    if feed.path is None or "{day}" not in feed.path:
        return None
    name = feed.path.replace("{day}", day.strftime(feed.day_format))
    found = [delivery for delivery in deliveries(landing, feed) if delivery.day == day]
    if any(delivery.is_waiting for delivery in found):
        return f"{name} has no completion marker {feed.marker}"
    if any(manifest.feed == feed.name and manifest.day == day for manifest in manifests(home, source.name)):
        return None
    return f"{name} was refused" if found else f"{name} is absent"
