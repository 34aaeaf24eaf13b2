"""`assent export`: the published generation again, minus those who withdrew since; nothing new, nothing written."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click

from orchestration.demo.clock import end_of_world
from orchestration.errors import ExitCode
from orchestration.home import Home
from orchestration.policy.loader import load_policy, policy_hash
from orchestration.settings import Settings, load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
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
