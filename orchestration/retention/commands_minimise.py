"""`assent minimise`: today's minimisation on what was stored under an older one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.policy.loader import load_policy
from orchestration.settings import Settings

if TYPE_CHECKING:  # at run time it is imported late: DuckDB and pandera take half a second
    from orchestration.retention.reminimise import PlanLine


@click.command()
@click.option("--plan", "is_plan", is_flag=True, help="Only show what would change.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
@click.pass_obj
def minimise(settings: Settings, is_plan: bool, as_json: bool) -> None:
    """Re-apply today's minimisation to the touchpoints that were stored under an older one.

    A column that policy drops by now goes, one that it keeps more coarsely is made coarser, where that can be told from
    what is stored; a policy that allows more changes nothing. No row goes. What went cannot be brought back, so nothing
    but this command does it: the nightly build only warns. Everything is counted first; `--plan` stops there.

    \b
    assent minimise --plan     what would change, by source and column
    assent minimise            the same, and then do it
    """
    from orchestration.identity.keys import Keys
    from orchestration.retention.reminimise import plan, reminimise

    home, policy = Home.open(settings.home, create=False), load_policy(settings.policy_dir)
    keys, at = Keys.open(home), settings.ledger_at
    with home.lock():
        lines = plan(home, policy, keys, at)
        is_due = any(line.changes for line in lines)
        if not as_json:
            _tell(lines)
        is_done = is_due and not is_plan
        done = reminimise(home, policy, keys, now=datetime.now(UTC), ledger_at=at) if is_done else {}
        left = [line for line in plan(home, policy, keys, at) if line.changes] if done else []
    if left:
        raise HomeError("files were not all rewritten", where=left[0].source, remedy="Run `assent minimise` again")
    if as_json:
        answer = {"plan": [line.as_json() for line in lines], "applied": done or None}
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    elif not is_due:
        click.echo("Everything stored is as today's policy would have it")
    elif done:
        files = sum(counts["files"] for counts in done.values())
        click.echo(f"Done: {files:,} files written again. Backups and older generations keep what they hold")


def _tell(lines: list[PlanLine]) -> None:
    for line in lines:
        into = f" → {line.into}" if line.into else ""
        click.echo(f"{line.source}.{line.column}{into}: {line.values:,} values in {line.files:,} files; {line.why}")
