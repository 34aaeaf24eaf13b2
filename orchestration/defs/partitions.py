"""Daily partitions by as-of day, and the two instants of a run: `as_of` (T) and `now`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from orchestration.defs.failures import stop
from orchestration.defs.site import Site
from orchestration.demo.clock import end_of_world
from orchestration.errors import ExitCode

AS_OF_TAG = "assent/as_of"  # an exact T; without it, the end of the partition's business day
NOW_TAG = "assent/now"  # the demo world's clock; without it, the instant at which the run was created
REBUILD_TAG = "assent/rebuild"  # builds even what would only repeat the generation in force
RANGE = ("asset_partition_range_start", "asset_partition_range_end")  # of Dagster's tags for a backfill


@dataclass(frozen=True)
class Moment:
    """T, and the instant at which the run was asked for; aware, UTC."""

    as_of: datetime
    now: datetime


ONE_DAY = dg.BackfillPolicy.multi_run(1)  # a backfill is one run per day, each whole


def daily(site: Site) -> dg.DailyPartitionsDefinition:
    """One partition per business day in the policy's zone. Today is one: a build during the day is for today."""
    organisation = site.policy.organisation
    return dg.DailyPartitionsDefinition(
        start_date=organisation.partitions_from.isoformat(), timezone=organisation.zone, end_offset=1
    )


def day_of(site: Site, instant: datetime) -> str:
    """The partition key of `instant`. The very end of a day still belongs to it: T is exclusive."""
    local = instant.astimezone(ZoneInfo(site.policy.organisation.zone)) - timedelta(microseconds=1)
    return local.date().isoformat()


def end_of_day(site: Site, key: str) -> datetime:
    """T of a partition: the end of its business day."""
    zone = ZoneInfo(site.policy.organisation.zone)
    start = datetime.fromisoformat(key).replace(tzinfo=zone)
    return (start + timedelta(days=1)).astimezone(UTC)


def moment(
    context: dg.AssetExecutionContext | dg.OpExecutionContext | dg.AssetCheckExecutionContext, site: Site
) -> Moment:
    """T and now of this run, the same in every step of it: from its tags, its partition and its record."""
    tags = context.run.tags
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if NOW_TAG in tags:
        now = _instant(tags[NOW_TAG], NOW_TAG)
    elif record is not None:
        now = end_of_world(site.home) or record.create_timestamp.astimezone(UTC)
    else:
        raise stop("the run has no record, so it has no clock")
    if AS_OF_TAG in tags:
        return Moment(_instant(tags[AS_OF_TAG], AS_OF_TAG), now)
    key = partition(tags)
    return Moment(min(end_of_day(site, key), now) if key else now, now)


def wall_clock_of(context: dg.AssetExecutionContext) -> datetime:
    """When the run was really asked for, whatever its tags or a demo's world say."""
    record = context.instance.get_run_record_by_id(context.run_id)
    if record is None:
        raise stop("the run has no record, so it has no clock")
    created: datetime = record.create_timestamp
    return created.astimezone(UTC)


def is_rebuild(context: dg.AssetExecutionContext) -> bool:
    """Was a full build asked for, whatever is in force? Any value of the tag asks."""
    return REBUILD_TAG in context.run.tags


def partition(tags: Mapping[str, str]) -> str | None:
    """The day of a run; None of a job without days. A backfill names it as a range of one day."""
    key, first, last = (tags.get(f"dagster/{name}") for name in ("partition", *RANGE))
    if first != last:
        raise stop("a run is of one day: launch a backfill with one run for each day", ExitCode.USAGE)
    return key or first


def _instant(text: str, tag: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or value.tzinfo is None:
        raise stop(f"the tag {tag} is not an ISO-8601 instant with an offset", ExitCode.USAGE)
    return value.astimezone(UTC)
