"""Runs the build job of the code location in this process, for the command line.

Not here: what the job does, and how the result is printed (`commands.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from orchestration.defs.assembly import assemble
from orchestration.defs.failure_notice import notify
from orchestration.defs.instance import open_instance
from orchestration.defs.jobs import BUILD
from orchestration.defs.partitions import AS_OF_TAG, NOW_TAG, day_of
from orchestration.defs.site import Site, quiet
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

    step: str
    message: str
    exit_code: ExitCode


def launch_build(
    settings: Settings, *, as_of: datetime | None, now: datetime, say: Callable[[str], None] = quiet
) -> Site:
    """Builds as of `as_of` (default: now). Returns the site; raises BuildFailedError, HomeError or PolicyError."""
    say("loading    policy, dbt project, definitions")
    site = Site.load(settings, say=say)
    if as_of is not None and site.home.info.kind == "demo":
        now = as_of  # the demo world has a clock of its own: its feeds are as fresh as its files
    instant = as_of or now
    day = day_of(site, instant)
    first = site.policy.organisation.partitions_from
    if day < first.isoformat():
        raise AssentError(
            f"{day} is before the first partition", where="--as-of", remedy=f"organisation.yaml: partitions_from is {first}"
        )
    tags = {AS_OF_TAG: instant.isoformat(), NOW_TAG: now.isoformat()}
    with site.home.lock():
        failed = _execute(site, day, tags, horizon=max(instant, now) + timedelta(days=2))
    if failed is not None:
        steps = [failed.step] if failed.step else []
        notify(settings, job=BUILD, run_id="", steps=steps, message=f"{BUILD} failed" + f" in {failed.step}" * bool(steps))
        raise BuildFailedError(f"{failed.step or 'the run'} failed: {failed.message}", failed.exit_code)
    return site


def _execute(site: Site, day: str, tags: dict[str, str], horizon: datetime) -> Failed | None:
    job = assemble(site, lock_wait=0).resolve_job_def(BUILD)
    # T may lie ahead of the wall clock (fault H7); Dagster must not call that partition unknown.
    with open_instance(site.home) as instance, dg.partition_loading_context(effective_dt=horizon):
        result = job.execute_in_process(
            instance=instance, partition_key=day, tags=tags, run_config=SILENT, raise_on_error=False
        )
    return None if result.success else _first_failure(result)


def _first_failure(result: dg.ExecuteInProcessResult) -> Failed:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            mine = data.user_failure_data
            if mine is not None:
                code = mine.metadata.get("exit_code")
                number = int(str(code.value)) if code is not None else int(ExitCode.FAILED)
                return Failed(event.step_key or "", mine.description or "no reason given", ExitCode(number))
            name = (data.error_display_string or "").strip().splitlines()
            return Failed(event.step_key or "", _check_name(name), ExitCode.FAILED)
    return Failed("", "the run could not start; see `assent dev`", ExitCode.FAILED)


def _check_name(lines: list[str]) -> str:
    """Dagster's own sentence on a failed blocking check names checks only; any other text is withheld."""
    said = next((line for line in lines if "check" in line.lower() and "failed" in line.lower()), "")
    return said.split(": ", 1)[-1] if "AssetCheckFailed" in said else "an unexpected error; its text is withheld"
