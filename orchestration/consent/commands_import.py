"""`assent consent import`: one file, one payload from standard input, or a table. Not here: what becomes of it
(`feeds/`)."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from orchestration.consent.answers.notices import NoticeBook, archive_policy
from orchestration.consent.feeds.importer import import_file, import_table
from orchestration.consent.feeds.report import ImportReport
from orchestration.consent.options import AS_JSON, Opened, opened, print_json, require_known
from orchestration.consent.signals.registry import NAMES
from orchestration.errors import AssentError, ExitCode
from orchestration.home import Home
from orchestration.policy.schema import ConsentFeed

STDIN = "-"


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("--feed", "feed_name", help="The feed of sources.yaml that it comes from.")
@click.option("--format", "signal", type=click.Choice(NAMES), help="Instead: the only feed of this signal format.")
@AS_JSON
@click.pass_context
def import_(
    context: click.Context, file: Path | None, feed_name: str | None, signal: str | None, as_json: bool
) -> None:
    """Import FILE, or `-` for one that is piped in; of a feed with `format: table`, without FILE, what is new in its
    table.

    \b
      assent consent import --feed consent_center events.jsonl
      assent consent import --format gpp - < webhook-body.json

    What cannot be read grants nothing: it is quarantined and counted, and denies for whom it names. Exit code 3 when
    the whole file was refused."""
    at = opened(context, create=True)
    feed = _feed(at, feed_name, signal)
    is_piped = file is not None and str(file) == STDIN
    if file is not None and not is_piped:
        at.home.check_landing(file.absolute().parent)
    elif file is None and feed.format != "table":
        raise click.UsageError("Missing argument 'FILE': the feed reads files.")
    archive_policy(at.home, at.policy)
    for edited in NoticeBook(at.home, at.policy).edited():
        click.echo(f"the notice {edited} was edited after publication; publish changes as a new version", err=True)
    with at.home.lock():
        more: dict[str, Any] = {"now": at.now, "ledger_at": at.ledger_at}
        if sys.stderr.isatty():
            more["progress"] = partial(click.echo, err=True)
        if file is None:
            report = import_table(at.home, at.policy, at.keys, feed, **more)
        elif is_piped:
            with _piped(at.home) as body:
                report = import_file(at.home, at.policy, at.keys, feed, body, **more)
        else:
            report = import_file(at.home, at.policy, at.keys, feed, file, **more)
    _tell(report, as_json, "table" if file is None else "file")
    context.exit(ExitCode.REFUSED_INPUT if report.refused else ExitCode.OK)


def _feed(at: Opened, name: str | None, signal: str | None) -> ConsentFeed:
    feeds = {feed.name: feed for feed in at.policy.sources.consent_feeds}
    if (name is None) == (signal is None):
        raise click.UsageError("Name the feed: --feed NAME, or --format NAME where one feed has that format.")
    if name is not None:
        require_known(name, feeds, "consent feed", "--feed")
        return feeds[name]
    of_format = [feed for feed in feeds.values() if feed.signal == signal]
    if len(of_format) != 1:
        remedy = (
            f"Say which with --feed: {', '.join(feed.name for feed in of_format)}"
            if of_format
            else f"Add a consent feed with `format: signal` and `signal: {signal}`, which says what its answers mean"
        )
        found = "several feeds of sources.yaml read" if of_format else "no feed of sources.yaml reads"
        raise AssentError(f"{found} this format", where="--format", remedy=remedy)
    return of_format[0]


@contextmanager
def _piped(home: Home) -> Iterator[Path]:
    """Standard input as a file of the home, which is gone afterwards."""
    path = home.tmp / f"piped-{secrets.token_hex(8)}"
    path.touch(mode=0o600)
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _tell(report: ImportReport, as_json: bool, what: str) -> None:
    if as_json:
        print_json(asdict(report))
        return
    silent = f", {report.without_effect} without effect" if report.without_effect else ""
    silent += f", {report.suppressed} suppressed" if report.suppressed else ""
    click.echo(
        f"read {report.read}: {report.accepted} accepted, {report.duplicates} duplicates, "
        f"{report.quarantined} quarantined{silent}"
    )
    for reason, count in report.quarantined_by_reason.items():
        click.echo(f"  {reason}: {count}")
    for reason in report.refused.values():
        click.echo(f"the {what} was refused: {reason}", err=True)
    if report.is_incomplete:
        click.echo("the feed is incomplete: what depends on it stops until it is imported corrected", err=True)
