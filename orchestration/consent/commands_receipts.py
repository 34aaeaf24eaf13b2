"""The commands `assent consent withdraw`, `receipt`, `receipts` and `vocabulary`. Identifiers are never echoed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from orchestration.atomic import replace
from orchestration.consent.answers import withdraw as desk
from orchestration.consent.answers.notices import NoticeBook
from orchestration.consent.answers.receipt_jsonld import Issuer
from orchestration.consent.answers.receipt_text import Reader
from orchestration.consent.answers.receipts import Receipt, receipts_by_key, receipts_of_subjects, refusals_since
from orchestration.consent.answers.state import read_identifier
from orchestration.consent.answers.wording import IRI, Language, wording
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import DESK
from orchestration.consent.options import (
    AS_JSON,
    IDENTIFIERS,
    LANGUAGE,
    Opened,
    each_line,
    opened,
    print_json,
    require_known,
)
from orchestration.consent.options import read_moment as moment_of
from orchestration.errors import AssentError


@click.command()
@IDENTIFIERS
@click.option("--controller", "controllers", multiple=True, required=True, help="To whom it is said; repeatable.")
@click.option("--purpose", "purposes", multiple=True, help="What is taken back; repeatable.")
@click.option("--all", "is_all", is_flag=True, help="All that rests on consent.")
@click.option("--channel", help="On this channel only.")
@click.option("--effective-at", help="When the person said so; ISO 8601 with an offset [now].")
@click.option("--feed", default=DESK, show_default=True, help="The feed in whose name it is recorded.")
@click.option("--surface", help="Where it was said: hotline, counter, e-mail …")
@click.option("--actor", help="Who recorded it, by a staff code.")
@click.option("--place", help="The store or office.")
@LANGUAGE
@AS_JSON
@click.pass_context
def withdraw(
    context: click.Context,
    identifiers: TextIO,
    controllers: tuple[str, ...],
    purposes: tuple[str, ...],
    is_all: bool,
    channel: str | None,
    effective_at: str | None,
    feed: str,
    language: Language,
    as_json: bool,
    surface: str | None,
    actor: str | None,
    place: str | None,
) -> None:
    """Record that a person withdraws consent, and print the receipt: its id, both times, and what stops when.

    The receipt is printed once the withdrawal is durable. It binds every identifier known to be of the same person.
    """
    if is_all == bool(purposes):
        raise AssentError("it is not clear what is withdrawn", where="--purpose", remedy="Give --purpose …, or --all")
    at = opened(context)
    when = moment_of(effective_at, "--effective-at") or at.now
    said = {"surface": surface, "actor": actor, "place": place, "system": "assent"}
    detail = {name: value for name, value in said.items() if value}
    asked = desk.Withdrawal(controllers, when, purposes, channel, feed, detail)
    desk.check(at.policy, asked)
    lines = each_line(identifiers, lambda line: read_identifier(at.policy, at.keys, line))
    subjects = [subject for _, subject in lines]
    given = desk.withdraw(at.home, at.policy, at.keys, subjects, asked, now=at.now, ledger_at=at.ledger_at)
    found = [(number, receipts) for (number, _), receipts in zip(lines, given, strict=True)]
    if as_json:
        print_json({"subjects": [{"line": n, "receipts": [r.as_json() for r in rs]} for n, rs in found]})
    else:
        _tell(at, found, language)


@click.command()
@click.option(
    "--identifier-file", "identifiers", type=click.File(encoding="utf-8"),
    help="Lines of kind:issuer:value; `-` reads standard input. Receipts of every consent record of each.",
)  # fmt: skip
@click.option("--id", "ids", multiple=True, help="Receipt with this id; repeatable.")
@click.option("--format", "form", type=click.Choice(["text", "jsonld"]), default="text", show_default=True)
@LANGUAGE
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonld.")
@click.pass_context
def receipt(
    context: click.Context,
    identifiers: TextIO | None,
    ids: tuple[str, ...],
    form: str,
    language: Language,
    as_json: bool,
) -> None:
    """Give the receipts of consents, refusals and withdrawals: of a person, or by their ids.

    As JSON-LD they use the W3C Data Privacy Vocabulary in the structure of ISO/IEC TS 27560:2023, after its public
    guide; conformance to the standard is not claimed. `assent consent vocabulary` lists the terms of our own.
    """
    if (identifiers is None) == (not ids):
        raise AssentError("it is not clear whose receipt", where="receipt", remedy="Give --identifier-file or --id")
    at = opened(context)
    lines = (
        [] if identifiers is None else each_line(identifiers, lambda line: read_identifier(at.policy, at.keys, line))
    )
    with open_ledger(at.home, at.keys, at.ledger_at) as (ledger, registry):
        refs = [(number, registry.lookup(subject.token)) for number, subject in lines]
        found = [(n, receipts_of_subjects(ledger, at.policy, [ref] if ref else [])) for n, ref in refs]
        found += [(0, receipts_by_key(ledger, at.policy, ids))] if ids else []
    if ids and len(found[-1][1]) < len(set(ids)):
        raise AssentError("there is no such receipt", where="--id", remedy="Give the id as the receipt has it")
    if as_json or form == "jsonld":
        issuer = Issuer(at.policy, NoticeBook(at.home, at.policy), at.now)
        print_json(issuer.document([receipt for _, receipts in found for receipt in receipts]))
    else:
        _tell(at, found, language)


@click.command()
@click.option("--since", type=click.IntRange(min=0), required=True, help="Where the last call ended; first 0.")
@click.option("--feed", help="Only what came by this feed [all].")
@click.option("--out", required=True, help="A JSON Lines file, readable by you alone; `-` is standard output.")
@click.pass_context
def receipts(context: click.Context, since: int, feed: str | None, out: str) -> None:
    """Write confirmations of every refusal and withdrawal after a sequence, for the consent centre to send.

    One JSON object per line: receipt_id, the feed's own event_id (null where erased), both times, scope, what stops
    when. No identifier: the consent centre knows its event_id. The greatest `seq` is the next --since.
    """
    at = opened(context)
    require_known(feed, [DESK, *(one.name for one in at.policy.sources.consent_feeds)], "consent feed", "--feed")
    written, last = 0, since
    with open_ledger(at.home, at.keys, at.ledger_at) as (ledger, _), _lines(out) as file:
        if since > (head := ledger.head()[0]):
            raise AssentError(
                f"the ledger ends at {head}: it was restored since the last call, or is another one",
                where="--since",
                remedy="Begin again from 0; a confirmation that was sent has the same receipt_id",
            )
        for one in refusals_since(ledger, at.policy, since, feed):
            file.write(json.dumps(one.as_json(), ensure_ascii=False) + "\n")
            written, last = written + 1, int(one.record["seq"])
    click.echo(f"{written} confirmation(s); next time --since {last}", err=True)


@click.command()
@AS_JSON
def vocabulary(as_json: bool) -> None:
    """The terms of receipts that the Data Privacy Vocabulary does not have, with labels and definitions."""
    terms = wording().terms
    if as_json:
        print_json({"iri": IRI, "terms": [term.model_dump(by_alias=True) for term in terms]})
        return
    for term in terms:
        click.echo(f"{IRI}{term.name}  {term.label.en} / {term.label.zh}")
        click.echo(f"    {term.definition.en} / {term.definition.zh}")


def _tell(at: Opened, found: list[tuple[int, list[Receipt]]], language: Language) -> None:
    reader = Reader(at.policy, language)
    for number, receipts_ in found:
        if number:
            click.echo(f"line {number}: {len(receipts_)} receipt(s)")
        for one in receipts_:
            click.echo("")
            for line in reader.lines(one):
                click.echo(line)


@contextmanager
def _lines(out: str) -> Iterator[TextIO]:
    """A text file that appears whole or not at all; `-` is standard output."""
    if out == "-":
        yield sys.stdout
        return
    path = Path(out)
    aside = path.with_name(f"tmp_{path.name}")
    failed = False
    try:
        aside.touch(mode=0o600)
        with aside.open("w", encoding="utf-8") as file:
            yield file
        replace(aside, path)
    except OSError:
        failed = True
    finally:
        aside.unlink(missing_ok=True)
    if failed:
        raise AssentError("the file cannot be written", where="--out", remedy="Choose another file")
