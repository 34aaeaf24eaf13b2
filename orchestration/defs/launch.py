"""Runs the build job of the code location in this process, for the command line.

Not here: what the job does, and how the result is printed (`commands.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from orchestration import errors
from orchestration.defs.assembly import assemble
from orchestration.defs.failure_notice import notify
from orchestration.defs.instance import open_instance
from orchestration.defs.jobs import BUILD
from orchestration.defs.partitions import AS_OF_TAG, NOW_TAG, REBUILD_TAG, day_of, end_of_day
from orchestration.defs.site import Site, quiet
from orchestration.demo.clock import end_of_world
from orchestration.errors import AssentError, ExitCode
from orchestration.settings import Settings

SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class BuildFailedError(AssentError):
    """The build stopped; the generation that was in force still is."""

    def __init__(self, what: str, exit_code: ExitCode) -> None:
        super().__init__(what, remedy="The published generation is unchanged")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Failed:
    """The first step that failed, and why."""

    run_id: str
    step: str
    message: str
    exit_code: ExitCode


def launch_build(
    settings: Settings,
    *,
    as_of: datetime | None,
    now: datetime,
    is_rebuild: bool = False,
    say: Callable[[str], None] = quiet,
) -> Site:
    """Builds as of `as_of` (default: the end of the last business day, as at night). Returns the site. `is_rebuild`:
    builds even what would only repeat the generation in force.

    Raises BuildFailedError, HomeError or PolicyError."""
    say("loading    policy, dbt project, definitions")
    site = Site.load(settings, say=say)
    site.open_keys()
    instant = as_of or latest_midnight(site, now)
    if site.home.info.kind == "demo":
        instant = now = as_of or end_of_world(site.home) or instant
    elif instant > now:  # once published, it would make every build of a true day the older one
        raise AssentError("T lies in the future", where="--as-of", remedy="Build for an instant that has passed")
    day = day_of(site, instant)
    first = site.policy.organisation.partitions_from
    if day < first.isoformat():
        raise AssentError(
            f"{day} is before the first partition",
            where="--as-of",
            remedy=f"organisation.yaml: partitions_from is {first}",
        )
    tags = {AS_OF_TAG: instant.isoformat(), NOW_TAG: now.isoformat()}
    if is_rebuild:
        tags[REBUILD_TAG] = "1"
    with site.home.lock():
        failed = _execute(site, day, tags, horizon=max(instant, now) + timedelta(days=2))
    if failed is not None:
        told = f"{failed.step or 'the run'} failed: {failed.message}"
        notify(settings, job=BUILD, run_id=failed.run_id, steps=[failed.step] if failed.step else [], message=told)
        raise BuildFailedError(told, failed.exit_code)
    return site


def latest_midnight(site: Site, now: datetime) -> datetime:
    """The end of the last business day that has closed."""
    return end_of_day(site, day_of(site, now - timedelta(days=1)))


def _execute(site: Site, day: str, tags: dict[str, str], horizon: datetime) -> Failed | None:
    job = assemble(site, lock_wait=0).resolve_job_def(BUILD)
    # T may lie ahead of the wall clock (fault H7); Dagster must not call that partition unknown.
    with open_instance(site.home) as instance, dg.partition_loading_context(effective_dt=horizon):
        result = job.execute_in_process(
            instance=instance, partition_key=day, tags=tags, run_config=SILENT, raise_on_error=False
        )
    return None if result.success else _first_failure(result)


def _first_failure(result: dg.ExecuteInProcessResult) -> Failed:
    event = next((event for event in result.all_events if event.is_step_failure), None)
    if event is None:
        return _not_started(result)
    step, data = event.step_key or "", event.step_failure_data
    mine = data.user_failure_data
    if mine is None:
        lines = (data.error_display_string or "").strip().splitlines()
        return Failed(result.run_id, step, _check_name(lines), ExitCode.FAILED)
    code = mine.metadata.get("exit_code")
    number = int(str(code.value)) if code is not None else int(ExitCode.FAILED)
    return Failed(result.run_id, step, mine.description or "no reason given", ExitCode(number))


def _not_started(result: dg.ExecuteInProcessResult) -> Failed:
    """A resource refused the run: our own error lies somewhere in the chain of causes that Dagster kept."""
    data = next((event.job_failure_data for event in result.all_events if event.is_job_failure), None)
    error = data.error if data is not None else None
    while error is not None:
        kind = getattr(errors, error.cls_name or "", None)
        if kind is not None:
            return Failed(result.run_id, "", error.message.partition(": ")[2].strip(), kind.exit_code)
        error = error.cause
    return Failed(result.run_id, "", "it could not start; `assent dev` shows its log", ExitCode.FAILED)


def _check_name(lines: list[str]) -> str:
    """Dagster's own sentence on a failed blocking check names checks only; any other text is withheld."""
    said = next((line for line in lines if "check" in line.lower() and "failed" in line.lower()), "")
    return said.split(": ", 1)[-1] if "AssetCheckFailed" in said else "an unexpected error; its text is withheld"
