"""The commands `assent consent …`: import a file, ask for one subject's records. Identifiers are never echoed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click

from orchestration.consent import state as answers
from orchestration.consent.importer import import_file
from orchestration.demo.clock import end_of_world
from orchestration.errors import AssentError, ExitCode
from orchestration.home import Home
from orchestration.identity.keys import BACKUP_ADVICE, Keys
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from orchestration.settings import Settings, load_settings

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
IDENTIFIERS = click.option(
    "--identifier-file",
    "identifiers",
    type=click.File(encoding="utf-8"),
    required=True,
    help="Lines of kind:issuer:value; `-` reads them from standard input, so that no shell keeps them.",
)
Answer = Callable[[str], list[dict[str, Any]]]


@click.group()
def consent() -> None:
    """The consent ledger: import records, look at one person's."""


@consent.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--feed", "feed_name", required=True, help="The feed of sources.yaml that it comes from.")
@AS_JSON
@click.pass_context
def import_(context: click.Context, file: Path, feed_name: str, as_json: bool) -> None:
    """Import FILE. Exit code 3 when the file was refused."""
    settings, home, policy, keys = _opened(context, create=True)
    feed = next((feed for feed in policy.sources.consent_feeds if feed.name == feed_name), None)
    if feed is None:
        names = ", ".join(feed.name for feed in policy.sources.consent_feeds) or "none"
        raise AssentError("the policy has no such consent feed", where="--feed", remedy=f"There are: {names}")
    home.check_landing(file.absolute().parent)
    now = end_of_world(home) or datetime.now(UTC)
    with home.lock():
        report = import_file(home, policy, keys, feed, file, now=now, ledger_at=settings.ledger_at)
    if as_json:
        _print_json(asdict(report))
    else:
        click.echo(
            f"read {report.read}: {report.accepted} accepted, {report.duplicates} duplicates, "
            f"{report.quarantined} quarantined"
        )
        for reason, count in report.quarantined_by_reason.items():
            click.echo(f"  {reason}: {count}")
        for reason in report.refused.values():
            click.echo(f"the file was refused: {reason}", err=True)
        if report.is_incomplete:
            click.echo("the feed is incomplete: what depends on it stops until a corrected file is imported", err=True)
    context.exit(ExitCode.REFUSED_INPUT if report.refused else ExitCode.OK)


@consent.command("state")
@IDENTIFIERS
@click.option("--as-of", "as_of", help="ISO 8601 with an offset; default: now.")
@AS_JSON
@click.pass_context
def state_(context: click.Context, identifiers: TextIO, as_of: str | None, as_json: bool) -> None:
    """The last record per scope of each identifier."""
    at = datetime.now(UTC) if as_of is None else _moment(as_of)
    settings, home, policy, keys = _opened(context, create=False)
    found = _answers(identifiers, lambda line: answers.state(home, policy, keys, line, at, settings.ledger_at))
    _show({"as_of": at.isoformat(), "caveat": answers.CAVEAT, "subjects": found}, as_json)


@consent.command("history")
@IDENTIFIERS
@AS_JSON
@click.pass_context
def history_(context: click.Context, identifiers: TextIO, as_json: bool) -> None:
    """Every record of each identifier, in order of the time that it took effect."""
    settings, home, policy, keys = _opened(context, create=False)
    found = _answers(identifiers, lambda line: answers.history(home, policy, keys, line, settings.ledger_at))
    _show({"caveat": answers.CAVEAT, "subjects": found}, as_json)


def _opened(context: click.Context, *, create: bool) -> tuple[Settings, Home, Policy, Keys]:
    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    policy = load_policy(settings.policy_dir)
    home = Home.open(settings.home, create=create)
    keys = Keys.open(home)
    if keys.created:
        click.echo(BACKUP_ADVICE, err=True)
    return settings, home, policy, keys


def _answers(identifiers: TextIO, answer: Answer) -> list[dict[str, Any]]:
    lines = [(number, line) for number, line in enumerate(identifiers, start=1) if line.strip()]
    if not lines:
        raise AssentError("there is no identifier", where="--identifier-file", remedy="Write kind:issuer:value")
    return [{"line": number, "records": answer(line)} for number, line in lines]


def _moment(text: str) -> datetime:
    at: datetime | None = None
    with contextlib.suppress(ValueError):
        at = datetime.fromisoformat(text)
    if at is None or at.tzinfo is None:
        raise AssentError("not a time with an offset", where="--as-of", remedy="Write e.g. 2026-11-20T00:00:00+08:00")
    return at.astimezone(UTC)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(answer)
        return
    for subject in answer["subjects"]:
        click.echo(f"line {subject['line']}: {len(subject['records'])} record(s)")
        for record in subject["records"]:
            click.echo("  " + " ".join(f"{name}={value}" for name, value in record.items()))
    click.echo(answer["caveat"])


def _print_json(content: dict[str, Any]) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))
