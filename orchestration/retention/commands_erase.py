"""`assent erase`: removes the bytes of people whose erasure is confirmed, and proves it. Identifiers are never echoed.

Not here: requests (`commands_request.py`)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from orchestration.consent.options import AS_JSON, opened, print_json
from orchestration.errors import ExitCode
from orchestration.settings import Settings, load_settings

if TYPE_CHECKING:
    from orchestration.retention.due_erasures import Erased
    from orchestration.retention.respond import Site


@click.command()
@click.argument("request", metavar="[REQUEST]", required=False)
@click.option("--verify", is_flag=True, help="Search every byte for the person of REQUEST, with a positive control.")
@click.option(
    "--value-file",
    "values",
    type=click.File(encoding="utf-8"),
    help="With --verify: lines of kind:issuer:value, or other words of the person; `-` reads standard input.",
)
@click.option(
    "--also",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="With --verify: search this folder too (targets, logs, landing, backups); repeatable.",
)
@AS_JSON
@click.pass_context
def erase(
    context: click.Context,
    request: str | None,
    verify: bool,
    values: TextIO | None,
    also: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Remove the bytes of people whose erasure is confirmed and whose time to undo is over: of all such requests, or of
    REQUEST. It goes on where it was stopped, and is done when a build without the person is published.

    The order: `assent request erase`, `request confirm`, and after the time to undo `assent erase`, `assent run`,
    `assent erase`; each build does it too, when it has published. Exit code 1 while something is still to do.

    --verify searches the home, its anchor and further folders, opened and unpacked, and writes signed evidence. Exit
    code 6 when anything is found, or the search did not find its own control."""
    from orchestration.retention.due_erasures import erase_due
    from orchestration.retention.respond import Site

    at = opened(context)
    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    site = Site(at.home, at.policy, at.keys, at.ledger_at)
    if verify:
        context.exit(_verify(site, request, values, also, at.now, as_json))
    done = erase_due(site, now=at.now, only=request, erase_url=settings.ledger_owner_url)
    if as_json:
        print_json({"erased": [_shown(one) for one in done]})
    else:
        for one in done:
            click.echo(f"{one.request.id}  {one.request.state}")
            if not one.is_done:
                click.echo(f"  still to do: {', '.join(one.pending)}; {one.why}")
        click.echo(f"{sum(one.is_done for one in done)} erased, {sum(not one.is_done for one in done)} not done")
    context.exit(ExitCode.OK if all(one.is_done for one in done) else ExitCode.FAILED)


def _verify(
    site: Site, request: str | None, values: TextIO | None, also: tuple[Path, ...], now: datetime, as_json: bool
) -> int:
    from orchestration.retention.verification import verify_erasure

    if request is None and values is None:
        raise click.UsageError("--verify needs a REQUEST (`assent request list` names them), or a --value-file")
    lines = [] if values is None else [line for line in values.read().splitlines() if line.strip()]
    found, path = verify_erasure(site, request, lines, now=now, also=also)
    if as_json:
        print_json({**asdict(found), "is_clean": found.is_clean, "is_sound": found.is_sound, "evidence": str(path)})
    else:
        for where, what in found.hits.items():
            click.echo(f"FOUND {where}: {', '.join(what)}")
        for where, why in found.unreadable.items():
            click.echo(f"only its bytes could be searched: {where} ({why})")
        for where, why in found.unsearched.items():
            click.echo(f"NOT SEARCHED {where}: {why}")
        for copy in found.sealed_copies:
            click.echo(f"not searched, since a passphrase seals it: {copy}; it goes when its days are over")
        missed = f", {len(found.control_missed)} of them missed" if found.control_missed else ""
        click.echo(f"{found.files} files, {found.bytes:,} bytes; {found.control_planted} controls planted{missed}")
        click.echo(f"{'clean' if found.is_clean else 'NOT CLEAN'}; evidence: {path}")
    return int(ExitCode.OK if found.is_clean else ExitCode.VERIFY)


def _shown(one: Erased) -> dict[str, object]:
    return {
        "id": one.request.id, "state": one.request.state, "is_done": one.is_done, "pending": list(one.pending),
        "why": one.why,
    }  # fmt: skip
