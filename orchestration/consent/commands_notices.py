"""The commands `assent consent notice` and `notify-list`: the exact text agreed to, and whom a new version concerns."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from orchestration.consent.answers import notify
from orchestration.consent.answers.notices import NoticeBook
from orchestration.consent.options import AS_JSON, opened, print_json
from orchestration.errors import ExitCode

NOTICE = click.option("--version", required=True, help="Of the notice.")


@click.command()
@click.option("--id", "notice_id", required=True, help="Of the notice, as records and receipts name it.")
@NOTICE
@click.option("--language", required=True, help="In which it was shown, e.g. zh-CN.")
@AS_JSON
@click.pass_context
def notice(context: click.Context, notice_id: str, version: str, language: str, as_json: bool) -> None:
    """Print the exact text that a record's notice, version and language stand for.

    It is found in the policy in force or, when that has moved on, in the policies that this home archives with every
    build and import. Exit code 6 when the text was edited after publication: all its wordings are printed then.
    """
    at = opened(context)
    found = NoticeBook(at.home, at.policy).find(notice_id, version, language)
    if as_json:
        print_json({"is_edited": len(found) > 1, "texts": [asdict(text) for text in found]})
    else:
        for text in found:
            click.echo(text.text)
            click.echo(f"sha256 {text.sha256}, published {text.published_at}", err=True)
        if len(found) > 1:
            click.echo("this version was edited after publication; publish changes as a new version", err=True)
    context.exit(ExitCode.VERIFY if len(found) > 1 else ExitCode.OK)


@click.command("notify-list")
@click.option("--notice", "notice_id", required=True, help="The notice that has a new version.")
@NOTICE
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the list here as CSV, readable by you alone: subject_ref, kind and issuer of the identifier, "
    "controller, purpose, channel, version agreed to, language, whether consent must be renewed, whether it is stale.",
)
@AS_JSON
@click.pass_context
def notify_list(context: click.Context, notice_id: str, version: str, out: Path | None, as_json: bool) -> None:
    """Whom a version of a notice concerns: those whose consent in force rests on an older version.

    Prints counts. The list holds no contact detail: telling people is an export on a purpose of contract basis, which
    goes through the same decisions as any other. One person may be listed under several identifiers.
    """
    at = opened(context)
    with notify.concerned(
        at.home, at.policy, at.keys, notice_id, version, now=at.now, ledger_at=at.ledger_at
    ) as concerned:
        counts = notify.counts(concerned)
        rows = None if out is None else notify.write_list(concerned, out)
    if as_json:
        print_json({"notice": notice_id, "version": version, "counts": counts, "rows_written": rows})
        return
    for count in counts:
        flags = ", to be renewed" if count["is_renewal_required"] else ""
        flags += ", stale: it counts no more" if count["is_stale"] else ""
        click.echo(
            f"{count['subjects']:>9}  {count['controller']} {count['purpose']} {count['channel'] or 'any channel'}: "
            f"agreed to {count['agreed_version']} in {count['language'] or 'an unknown language'}{flags}"
        )
    click.echo(f"{len(counts)} group(s)" if rows is None else f"{rows} row(s) written to {out}")
