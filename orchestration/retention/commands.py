"""`assent retention`: what is past its days, before it goes, and letting it go. Not here: what is due (`plan.py`)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from orchestration.consent.options import AS_JSON, opened, print_json
from orchestration.errors import ExitCode
from orchestration.policy.loader import policy_hash
from orchestration.retention.facts import Outside
from orchestration.retention.plan import Part, Plan
from orchestration.retention.purge import At, PurgeReport, look
from orchestration.retention.purge import purge as purge_home
from orchestration.settings import Settings, load_settings

REASONS = {
    "landing_is_not_ours": "the landing folder is not of this home: it is read only, and whoever owns it deletes there",
    "sources_whose_landing_files_are_kept": "sources keep their landing files (sources.yaml: after_ingest)",
    "refused_files_waiting": "refused files lie in landing until they are replaced or taken away",
    "backups_carried_away_past_their_days": "backups are past their days and not where they were written: delete them",
    "run_history_is_elsewhere": "Dagster's history is in a storage of your own: purge it there",
    "ledger_is_elsewhere": "the ledger's database is not in this home: its own copies and logs are yours to delete",
}


@click.group()
def retention() -> None:
    """What is kept how long (retention.yaml): see what goes before it goes. Each `assent run` ends with the purge."""


@retention.command()
@AS_JSON
@click.pass_context
def plan(context: click.Context, as_json: bool) -> int:
    """Show what would go now, by which rule, and how much of each dataset that is. Deletes nothing.

    Days count from the event's own time. What is more than policy's max_share of its dataset is stopped: look at it,
    then `assent retention run --confirm` with the id shown. Exit code 7: something is stopped."""
    at = _at(context)
    with at.home.lock():
        found, outside = look(at)
    if as_json:
        print_json(_plan_json(found, outside))
    else:
        for line in _told_plan(found, outside):
            click.echo(line)
    return int(ExitCode.RETENTION if found.stopped else ExitCode.OK)


@retention.command()
@click.option(
    "--confirm", metavar="PLAN-ID", help="Let go what `assent retention plan` showed as stopped, under its id."
)
@AS_JSON
@click.pass_context
def run(context: click.Context, confirm: str | None, as_json: bool) -> int:
    """Delete what is past its days, and write evidence/purges/. A purge that was killed is finished first.

    Nothing goes that the wall clock would keep. Exit code 7: a part is stopped by max_share, or could not be deleted;
    the rest is done."""
    report = purge_home(_at(context), confirm=confirm)
    if as_json:
        print_json(asdict(report))
    else:
        for line in told(report):
            click.echo(line)
    return int(ExitCode.OK if report.is_good else ExitCode.RETENTION)


def told(report: PurgeReport) -> list[str]:
    """What became of a purge, as people read it."""
    lines = [f"purge {report.state}: {sum(report.units.values()):,} units went ({report.evidence})"]
    lines += [f"  {name:<28}{units:>10,} went" for name, units in report.units.items()]
    lines += [
        f"  {name:<28}{units:>10,} wait: in force, or under legal hold" for name, units in report.deferred.items()
    ]
    lines += [f"  {name:<28}{units:>10,} STOPPED: more than max_share" for name, units in report.stopped.items()]
    lines += [f"  {name:<28}FAILED: {why}" for name, why in report.failed.items()]
    if report.stopped:
        lines.append(f"look at `assent retention plan`, then run `assent retention run --confirm {report.plan_id}`")
    return lines + _told_outside(report.outside)


def _at(context: click.Context) -> At:
    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    found = opened(context)
    wall = datetime.now(UTC)
    return At(
        home=found.home,
        policy=found.policy,
        keys=found.keys,
        as_of=found.now,  # of a demo: where its world ends
        now=wall,
        policy_hash=policy_hash(found.policy, settings.policy_dir),
        landing=settings.landing or found.home.landing,
        ledger_at=found.ledger_at,
    )


def _told_plan(found: Plan, outside: list[Outside]) -> list[str]:
    lines = [
        f"at {found.clock:%Y-%m-%d %H:%M:%S} UTC",
        f"  {'dataset':<24}{'days':>6}{'goes':>12}{'of':>12}{'share':>9}",
    ]
    for part in found.parts:
        line = f"  {part.name:<24}{part.days:>6}{part.units:>12,}{part.total:>12,}{part.share:>9.1%}"
        lines.append(line + (f"  STOPPED: more than {part.limit:.0%}" if part.is_stopped else ""))
        if part.goes:
            oldest, newest = (pick(item.at for item in part.goes) for pick in (min, max))
            lines.append(
                f"    {len(part.goes):,} items, of {oldest:%Y-%m-%d %H:%M:%S} to {newest:%Y-%m-%d %H:%M:%S} UTC"
            )
        if part.deferred:
            lines.append(f"    {sum(i.units for i in part.deferred):,} wait: {', '.join(_because(part))}")
    if found.id is not None:
        lines.append(f"stopped parts go only with `assent retention run --confirm {found.id}`")
    return lines + _told_outside(outside)


def _because(part: Part) -> list[str]:
    return sorted({(item.keep or "legal_hold").replace("_", " ") for item in part.deferred})


def _told_outside(outside: Any) -> list[str]:
    return [f"  note: {REASONS[one.code]} ({one.count})" for one in outside]


def _plan_json(found: Plan, outside: list[Outside]) -> dict[str, Any]:
    return {
        "clock": found.clock.isoformat(),
        "policy_hash": found.policy_hash,
        "plan_id": found.id,
        "parts": [
            {
                **{name: getattr(part, name) for name in ("dataset", "source", "days", "units", "total")},
                "share": round(part.share, 6),
                "limit": round(part.limit, 6),
                "is_stopped": part.is_stopped,
                "items": [{"name": i.name, "at": i.at.isoformat(), "units": i.units} for i in part.goes],
                "deferred": [
                    {"name": i.name, "at": i.at.isoformat(), "units": i.units, "because": i.keep or "legal_hold"}
                    for i in part.deferred
                ],
            }
            for part in found.parts
        ],
        "outside": {one.code: one.count for one in outside},
    }
