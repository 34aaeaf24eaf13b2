"""The nightly schedule. The clock of a scheduled run is the tick's."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from orchestration.defs.jobs import BUILD
from orchestration.defs.partitions import day_of
from orchestration.defs.site import Site

NIGHTLY = "0 2 * * *"


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
