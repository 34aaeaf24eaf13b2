"""The sensors: new landing files, withdrawals since the last export, failed runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import dagster as dg

from orchestration.consent.ledger import Ledger
from orchestration.defs.failure_notice import notify
from orchestration.defs.jobs import BUILD, RE_EXPORT
from orchestration.defs.partitions import day_of
from orchestration.defs.site import Site
from orchestration.ingestion.landing import deliveries
from orchestration.policy.schema import ConsentFeed, Feed
from orchestration.warehouse.publish import published

LANDING_SECONDS = 300
WITHDRAWAL_SECONDS = 60
LONGEST_PAUSE_SECONDS = 3600  # between attempts at a re-export that keeps failing
NEWS_TAG = "assent/news"  # of a re-export: the hash of what it was asked for


def waiting(landing: Path, feeds: Iterable[Feed | ConsentFeed]) -> list[Path]:
    """The complete files of `feeds` in `landing`, as ingestion would take them."""
    return [delivery.path for feed in feeds for delivery in deliveries(landing, feed) if not delivery.is_waiting]


def fingerprint(paths: Iterable[Path]) -> str:
    """A hash of names, sizes and times: cheap, and different when a file came or changed."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            state = path.stat()
        except FileNotFoundError:  # a build has just taken it
            continue
        digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def landing_sensor(site: Site, clock: Callable[[], datetime]) -> dg.SensorDefinition:
    """Builds when files have come and none changed between two looks: a file that still grows waits."""
    feeds = [feed for source in site.policy.sources.sources for feed in source.feeds]

    @dg.sensor(
        name="landing_sensor",
        job_name=BUILD,
        minimum_interval_seconds=LANDING_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="New landing files start a build during the day. Off by default: the nightly build takes them.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        paths = waiting(site.landing, feeds)
        seen = fingerprint(paths)
        before, _, requested = (context.cursor or "").partition(":")
        if not paths or seen == requested:
            context.update_cursor(f"{seen}:{requested}")
            return dg.SkipReason("no new files")
        if seen != before:
            context.update_cursor(f"{seen}:{requested}")
            return dg.SkipReason("files have come; waiting until they stop changing")
        day = day_of(site, clock())
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=seen, partition_key=day)], cursor=f"{seen}:{seen}")

    return look


def consent_withdrawal_sensor(site: Site, clock: Callable[[], datetime]) -> dg.SensorDefinition:
    """Re-exports when the ledger has moved past the published generation, or consent files wait in landing."""

    @dg.sensor(
        name="consent_withdrawal_sensor",
        job_name=RE_EXPORT,
        minimum_interval_seconds=WITHDRAWAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Withdrawals leave the published exports at once, with a removal list, without a rebuild.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        current = published(site.home)
        if current is None:
            return dg.SkipReason("nothing is published yet")
        ledger = Ledger.open(site.settings.ledger_url or site.home.ledger_db)
        try:
            head, _ = ledger.head()
        finally:
            ledger.close()
        files = waiting(site.landing, site.policy.sources.consent_feeds)
        if head == current.ledger_seq and not files:  # a lower head is not the ledger of the build: the run says so
            return dg.SkipReason("no consent record since the build")
        news = hashlib.sha256(f"{current.generation}:{head}:{fingerprint(files)}".encode()).hexdigest()[:32]
        number = next_attempt(context.instance, news, clock())
        if number is None:
            return dg.SkipReason("no consent record since the last re-export")
        return dg.RunRequest(run_key=f"{news}:{number}", tags={NEWS_TAG: news})

    return look


def next_attempt(instance: dg.DagsterInstance, news: str, now: datetime) -> int | None:
    """How often a re-export of `news` has failed; None while one is under way, after one that was good, and for some
    minutes after a failure. A withdrawal must not be forgotten because its re-export failed."""
    runs = instance.get_run_records(dg.RunsFilter(job_name=RE_EXPORT, tags={NEWS_TAG: news}))
    if not all(run.dagster_run.is_failure_or_canceled for run in runs):
        return None
    ended = max((run.end_time or run.update_timestamp.timestamp() for run in runs), default=0.0)
    pause = min(WITHDRAWAL_SECONDS * 2 ** len(runs), LONGEST_PAUSE_SECONDS) if runs else 0
    return len(runs) if now.timestamp() - ended >= pause else None


def failure_sensor(site: Site) -> dg.SensorDefinition:
    """The failure hook: a command or a webhook from the settings, for every failed run, killed ones included."""

    @dg.run_failure_sensor(
        name="failure_sensor",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the failure command or webhook of the settings: names of job and steps, never a value.",
    )
    def tell(context: dg.RunFailureSensorContext) -> None:
        steps = [event.step_key or "" for event in context.get_step_failure_events()]
        run = context.dagster_run
        message = f"{run.job_name} failed" + (f" in {', '.join(steps)}" if steps else "")
        notify(site.settings, job=run.job_name, run_id=run.run_id, steps=steps, message=message)

    return tell
