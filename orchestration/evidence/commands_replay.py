"""The command `assent replay`: a generation rebuilt as it was, and what differs. Reads all, writes its record only."""

from __future__ import annotations

import time
from typing import Any

import click

from orchestration.consent.options import AS_JSON, opened, print_json
from orchestration.errors import AssentError, ExitCode
from orchestration.evidence.replay import Replay
from orchestration.evidence.replay import replay as rebuild_and_compare

MOST_SHOWN = 20


@click.command()
@click.option("--generation", help="Which one; the names are the folders of evidence/ [the published one].")
@AS_JSON
@click.pass_context
def replay(context: click.Context, generation: str | None, as_json: bool) -> int:
    """Rebuild a generation from the lake and the ledger as known then and the policy of then, and compare its rows.

    What erasure or retention has removed since is told apart; anything else that differs is an error. The published
    generation stays in force, and the replay leaves only its record in evidence/<generation>/replays/. Exit code 0:
    equal, or all differences are explained; 6: not.
    """
    at = opened(context)
    chosen = generation or _published(at.home)
    start = time.monotonic()

    def say(line: str) -> None:
        if not as_json:
            click.echo(f"{time.monotonic() - start:6.1f} s  {line}", err=True)

    found = rebuild_and_compare(at.home, at.policy, at.keys, chosen, now=at.now, ledger_at=at.ledger_at, say=say)
    if as_json:
        print_json(found.as_json())
    else:
        for line in told(found):
            click.echo(line)
    return int(ExitCode.VERIFY if found.problems else ExitCode.OK)


def told(found: Replay) -> list[str]:
    """The finding as people read it."""
    meaning = {
        "equal": "equal: every row is the same",
        "explained": "explained: what differs was erased, or is past retention",
        "differs": "DIFFERS: not all of it is explained",
    }
    lines = [
        f"generation {found.generation}, as of {found.as_of}",
        f"  {meaning[found.status]}",
        f"  content    {found.content_hash_then[:16]} then, {found.content_hash_now[:16]} replayed",
        f"  compared   {'row by row with its file' if found.compared_with == 'file' else 'by hash: its file is gone'}",
        f"  inputs     {found.files} files, {len(found.files_missing)} no longer whole",
    ]
    for kind, causes in found.rows_gone.items():
        lines.append(f"  gone       {kind}: " + ", ".join(f"{n:,} rows by {cause}" for cause, n in causes.items()))
    for cause, number in found.records_lost.items():
        lines.append(f"  gone       {number:,} records of the ledger by {cause}")
    for name, table in found.tables.items():
        lines.append(f"  table      {name}: {_difference(table)}")
    lines += [f"  note       {note}" for note in found.notes]
    lines += [f"  BAD        {problem}" for problem in found.problems[:MOST_SHOWN]]
    if len(found.problems) > MOST_SHOWN:
        lines.append(f"  BAD        and {len(found.problems) - MOST_SHOWN} more, see --json")
    return lines


def _difference(table: dict[str, Any]) -> str:
    rows = f"{table['rows_then']:,} rows then, {table['rows_now']:,} replayed"
    if "cause" in table:
        return f"{rows}; by {table['cause']}"
    sides = [f"{n:,} {side} by {cause}" for side in ("lost", "gained") for cause, n in table[side].items()]
    return f"{rows}; {', '.join(sides)}"


def _published(home: Any) -> str:
    from orchestration.warehouse.publish import published

    current = published(home)
    if current is None:
        raise AssentError("nothing is published", where=str(home.root), remedy="Run `assent run` first")
    return current.generation
