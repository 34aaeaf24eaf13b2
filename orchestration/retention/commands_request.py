"""`assent request`: record what a person asks for, confirm or undo it, list what is open. Identifiers are never echoed.

Not here: the removal of bytes (`commands_erase.py`), what a request does (`respond.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from orchestration.consent.options import AS_JSON, opened, print_json
from orchestration.errors import AssentError

if TYPE_CHECKING:
    from orchestration.consent.models import Subject
    from orchestration.retention.requests import Kind, Request
    from orchestration.retention.respond import Site
    from orchestration.retention.subject import Kept

IDENTIFIER = click.option(
    "--identifier-file",
    "identifiers",
    type=click.File(encoding="utf-8"),
    required=True,
    help="One line, kind:issuer:value; `-` reads it from standard input, so that no shell keeps it.",
)
ID = click.argument("request", metavar="REQUEST")


@click.group()
def request() -> None:
    """What people ask for: erasure, access, restriction, rectification; each with its clock, state and evidence.

    A person is every identifier that the published generation knows to be theirs; one that several people share loses
    the link only. An erasure takes two steps, `request erase` and `request confirm`, and can be undone for the days
    that policy names; then `assent erase` removes the bytes."""


@request.command()
@IDENTIFIER
@AS_JSON
@click.pass_context
def erase(context: click.Context, identifiers: TextIO, as_json: bool) -> None:
    """Record a request for erasure. Use stops now; what would be erased is shown in numbers."""
    _receive(context, "erasure", identifiers, as_json)


@request.command()
@click.argument("request", metavar="[REQUEST]", required=False)
@click.option("--identifier-file", "identifiers", type=click.File(encoding="utf-8"),
              help="Of a new request: one line, kind:issuer:value; `-` reads it from standard input.")  # fmt: skip
@click.option("--to", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Answer now: write everything that is known into this folder, as a page and as JSON.")  # fmt: skip
@AS_JSON
@click.pass_context
def access(
    context: click.Context, request: str | None, identifiers: TextIO | None, folder: Path | None, as_json: bool
) -> None:
    """Record a request for access, and answer it or REQUEST with --to: sources, touchpoints, consent and its history,
    purposes, segments and why, deliveries. Make sure first that it is the person who asks."""
    from orchestration.retention import respond

    site, at = _site(context)
    if (identifiers is None) == (request is None):
        raise click.UsageError("Give --identifier-file for a new request, or a REQUEST")
    if identifiers is not None:
        found, _ = respond.receive(site, "access", _one(site, identifiers), now=at)
        request = found.id
    assert request is not None
    found, paths = respond.find(site, request), list[Path]()
    if folder is not None:
        found, paths = respond.answer_access(site, request, folder, now=at)
    _tell(found, None, at, as_json)
    for path in paths:
        click.echo(f"written to {path}; it is personal data, hand it over and delete it", err=True)


@request.command()
@IDENTIFIER
@AS_JSON
@click.pass_context
def restrict(context: click.Context, identifiers: TextIO, as_json: bool) -> None:
    """Restrict the use of a person's data, until `assent request undo`. It binds the next export."""
    _receive(context, "restriction", identifiers, as_json)


@request.command()
@IDENTIFIER
@AS_JSON
@click.pass_context
def rectify(context: click.Context, identifiers: TextIO, as_json: bool) -> None:
    """Record that a person disputes their data. It is not used until `assent request close`: the source has to
    deliver it again, corrected."""
    _receive(context, "rectification", identifiers, as_json)


@request.command()
@IDENTIFIER
@AS_JSON
@click.pass_context
def readmit(context: click.Context, identifiers: TextIO, as_json: bool) -> None:
    """Take data of an identifier again that was erased: the person has come back, and says so. Nothing else lifts it, a
    new consent neither; what was erased stays gone. Exit code 1 when it was not erased."""
    from orchestration.errors import ExitCode
    from orchestration.retention import respond

    site, at = _site(context)
    lifted = respond.readmit(site, _one(site, identifiers), now=at)
    if as_json:
        print_json({"readmitted": lifted})
    else:
        click.echo("taken again from now on" if lifted else "this identifier was not erased")
    context.exit(ExitCode.OK if lifted else ExitCode.FAILED)


@request.command()
@ID
@click.option("--confirm", is_flag=True, help="Without it nothing changes: what is selected is shown.")
@click.option("--undo-now", is_flag=True, help="End the time to undo at once: the person, asked again, said so.")
@AS_JSON
@click.pass_context
def confirm(context: click.Context, request: str, confirm: bool, undo_now: bool, as_json: bool) -> None:
    """Confirm an erasure after looking at what it selects. Destinations that were delivered the person get a
    suppression file in the outbox; the time to undo begins."""
    from orchestration.retention import respond

    site, at = _site(context)
    if not confirm:
        found, kept = respond.show(site, request)
        _tell(found, kept, at, as_json)
        if not as_json:
            click.echo("Nothing was changed. Confirm with --confirm")
        return
    found, kept = respond.confirm(site, request, now=at, undo_now=undo_now)
    _tell(found, kept, at, as_json)


@request.command()
@ID
@AS_JSON
@click.pass_context
def undo(context: click.Context, request: str, as_json: bool) -> None:
    """Undo an erasure within its time, or a restriction. What the person had permitted counts again."""
    from orchestration.retention import respond

    site, at = _site(context)
    _tell(respond.undo(site, request, now=at), None, at, as_json)


@request.command()
@ID
@AS_JSON
@click.pass_context
def close(context: click.Context, request: str, as_json: bool) -> None:
    """Note that a person was answered: the data was rectified at its source, or access was given by other means."""
    from orchestration.retention import respond

    site, at = _site(context)
    _tell(respond.answer(site, request, {}, now=at), None, at, as_json)


@request.command()
@click.option("--file", "document", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Import this document (OpenDSR, say) by --feed first.")  # fmt: skip
@click.option("--feed", help="The consent feed that reads --file.")
@AS_JSON
@click.pass_context
def take(context: click.Context, document: Path | None, feed: str | None, as_json: bool) -> None:
    """Open a request for each that has come by a consent feed, such as OpenDSR. Each is taken once.

    Whoever is unknown, or shares the identifier with others, is left to staff: see `assent consent requests`."""
    from orchestration.retention import respond

    site, at = _site(context)
    if (document is None) != (feed is None):
        raise click.UsageError("Give --file and --feed together, or neither")
    if document is not None and feed is not None:
        _import(site, document, feed, at)
    taken = respond.take(site, now=at)
    if as_json:
        print_json({"requests": [one.as_json(at) for one in taken]})
        return
    for one in taken:
        click.echo(_line(one, at))
    click.echo(f"{len(taken)} request(s) taken")


def _import(site: Site, document: Path, feed: str, at: Any) -> None:
    from orchestration.consent.feeds.importer import import_file

    chosen = next((one for one in site.policy.sources.consent_feeds if one.name == feed), None)
    if chosen is None:
        names = ", ".join(one.name for one in site.policy.sources.consent_feeds)
        raise AssentError("the policy has no such consent feed", where="--feed", remedy=f"There are: {names}")
    with site.home.lock():
        report = import_file(site.home, site.policy, site.keys, chosen, document, now=at, ledger_at=site.ledger_at)
    if report.refused:
        raise AssentError("the document was refused", where="--file", remedy=", ".join(report.refused.values()))


@request.command("list")
@click.option("--open", "is_open", is_flag=True, help="Only those that are not done.")
@AS_JSON
@click.pass_context
def list_(context: click.Context, is_open: bool, as_json: bool) -> None:
    """List the requests, with their clocks. It names nobody. Exit code 1 when one is overdue."""
    from orchestration.errors import ExitCode
    from orchestration.retention import respond

    site, at = _site(context)
    found = [one for one in respond.log_of(site) if one.is_open or not is_open]
    if as_json:
        print_json({"requests": [one.as_json(at) for one in found]})
    else:
        for one in found:
            click.echo(_line(one, at))
        click.echo(f"{len(found)} request(s)")
    context.exit(ExitCode.FAILED if any(one.is_overdue(at) for one in found) else ExitCode.OK)


@request.command()
@ID
@AS_JSON
@click.pass_context
def show(context: click.Context, request: str, as_json: bool) -> None:
    """Show one request: when it reached each state, and what was counted, told and signed then."""
    from orchestration.retention import respond

    site, at = _site(context)
    _tell(respond.find(site, request), None, at, as_json)


def _receive(context: click.Context, kind: Kind, identifiers: TextIO, as_json: bool) -> None:
    from orchestration.retention import respond

    site, at = _site(context)
    found, kept = respond.receive(site, kind, _one(site, identifiers), now=at)
    _tell(found, kept, at, as_json)
    if kind == "erasure" and not as_json:
        click.echo(f"Look at the numbers, then: assent request confirm {found.id} --confirm")


def _one(site: Site, identifiers: TextIO) -> Subject:
    from orchestration.consent.answers.state import read_identifier
    from orchestration.evidence.commands_explain import one_line

    return read_identifier(site.policy, site.keys, one_line(identifiers))


def _site(context: click.Context) -> Any:
    from orchestration.retention.respond import Site

    at = opened(context)
    return Site(at.home, at.policy, at.keys, at.ledger_at), at.now


def _tell(found: Request, kept: Kept | None, at: Any, as_json: bool) -> None:
    if as_json:
        print_json(found.as_json(at) | ({} if kept is None else {"selected": kept.as_json()}))
        return
    click.echo(_line(found, at))
    for reached in found.states:
        told = {name: value for name, value in reached.evidence.items() if name != "selected"}
        click.echo(f"  {reached.at.isoformat()}  {reached.state}" + (f"  {told}" if told else ""))
    if kept is not None:
        _tell_kept(kept)


def _tell_kept(kept: Kept) -> None:
    click.echo(f"  identifiers    {_counts(kept.identifiers)}")
    click.echo(f"  shared, kept   {_counts(kept.shared)}")
    click.echo(f"  touchpoints    {_counts(kept.touchpoints)}")
    rest = f"{kept.links} links, {kept.contacts} contacts, {kept.ledger_records} records of the ledger"
    click.echo(f"  and            {rest}, {kept.deliveries} deliveries")
    if kept.held_by:
        click.echo(f"  legal hold     {', '.join(kept.held_by)}: deleted only when it ends; use stays blocked")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "none"


def _line(one: Request, at: Any) -> str:
    late = "  OVERDUE" if one.is_overdue(at) else ""
    undo = f"  undo until {one.undo_until.isoformat()}" if one.undo_until and one.state == "logically_erased" else ""
    return f"{one.id:<28} {one.state:<18} due {one.due_at:%F}{undo}{late}"
