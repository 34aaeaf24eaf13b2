"""`assent export`: the published generation again, minus those who withdrew since; nothing new, nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from orchestration.demo.clock import end_of_world
from orchestration.errors import ExitCode
from orchestration.home import Home
from orchestration.policy.loader import load_policy, policy_hash
from orchestration.settings import Settings, load_settings

if TYPE_CHECKING:
    from orchestration.exports.withdrawals import Seconds, Withdrawals

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


@click.command()
@AS_JSON
@click.pass_context
def export(context: click.Context, as_json: bool) -> None:
    """Export the published generation again, minus those who withdrew since. Exit code 1 when an export failed."""
    from orchestration.exports.export import export_generation
    from orchestration.identity.keys import Keys

    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    policy = load_policy(settings.policy_dir)
    home = Home.open(settings.home, create=False)
    results = export_generation(
        home,
        policy,
        Keys.open(home),
        now=end_of_world(home) or datetime.now(UTC),
        ledger_at=settings.ledger_at,
        policy_hash=policy_hash(policy, settings.policy_dir),
    )
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], ensure_ascii=False, indent=2, default=str))
    else:
        for result in results:
            withheld = ", ".join(f"{reason} {people}" for reason, people in result.withheld.items())
            why = result.failure or (f"kept back: {withheld}" if withheld else "")
            click.echo(
                f"{result.segment} → {result.destination}: {result.status}, {result.rows} rows, "
                f"{result.removals} removals{'; ' + why if why else ''}"
            )
    if any(result.status == "failed" for result in results):
        context.exit(ExitCode.FAILED)


@click.command()
@AS_JSON
@click.pass_context
def withdrawals(context: click.Context, as_json: bool) -> None:
    """How long withdrawals took to reach each destination, and what went out before one was known.

    A withdrawal has reached a destination when the outbox holds an audience without the person and a removal list with
    them. When the recipient fetched it, Assent cannot see."""
    from orchestration.exports.withdrawals import measure_withdrawals
    from orchestration.identity.keys import Keys

    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    home = Home.open(settings.home, create=False)
    now = end_of_world(home) or datetime.now(UTC)
    policy = load_policy(settings.policy_dir)
    found = measure_withdrawals(home, policy, Keys.open(home), now=now, ledger_at=settings.ledger_at)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2, default=str))
        return
    for line in _told(found):
        click.echo(line)
    if home.info.kind == "demo":
        click.echo("a demo's clock stands still: what is said after its world ended cannot be timed")


def _told(found: Withdrawals) -> Iterator[str]:
    if not found.promptness and not found.late_exposures:
        yield "nobody who was delivered has withdrawn"
    for one in found.promptness:
        yield f"{one.destination}: {one.answered} answered, {one.outstanding} wait for the next export"
        if one.answered:
            yield f"  since known to us      {_times(one.from_known)}"
            yield f"  since the person chose {_times(one.from_decision)}"
    for late in found.late_exposures:
        records = ", ".join(map(str, late.records[:10]))
        days = f"{late.first_delivered_at:%F} to {late.last_delivered_at:%F}"
        yield f"late: {late.segment} → {late.destination}, {late.people} people, exports of {days}; records {records}"


def _times(seconds: Seconds) -> str:
    parts = {"p50": seconds.p50, "p99": seconds.p99, "max": seconds.max}
    return ", ".join(f"{name} {timedelta(seconds=round(value))}" for name, value in parts.items() if value is not None)
