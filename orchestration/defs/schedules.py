"""The schedules: the nightly build, and an hourly look at consent databases. A scheduled run's clock is the tick's."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from orchestration.defs.jobs import BUILD, RE_EXPORT
from orchestration.defs.partitions import day_of
from orchestration.defs.site import Site

NIGHTLY, HOURLY = "0 2 * * *", "30 * * * *"


def nightly_schedule(site: Site) -> dg.ScheduleDefinition:
    """At 02:00 in the policy's zone, the build as of the end of the business day that has just closed."""

    @dg.schedule(
        name="nightly_schedule",
        cron_schedule=NIGHTLY,
        job_name=BUILD,
        execution_timezone=site.policy.organisation.zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Tonight's build, as of the end of the day before.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = day_of(site, context.scheduled_execution_time - timedelta(days=1))
        return dg.RunRequest(run_key=day, partition_key=day)

    return nightly


def consent_table_schedules(site: Site) -> list[dg.ScheduleDefinition]:
    """Every hour, what consent databases have learned, and the exports without those who withdrew. A database tells no
    sensor that it has changed; without a feed that reads one there is nothing to schedule."""
    if not any(feed.format == "table" for feed in site.policy.sources.consent_feeds):
        return []

    @dg.schedule(
        name="consent_table_schedule",
        cron_schedule=HOURLY,
        job_name=RE_EXPORT,
        execution_timezone=site.policy.organisation.zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Reads the consent databases; who withdrew there leaves the published exports, without a rebuild.",
    )
    def hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return [hourly]
