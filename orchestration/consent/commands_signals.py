"""`assent consent decode`: what a consent signal says; `assent consent requests`: what people have asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from orchestration.consent.feeds.payloads import MAX_BODY_BYTES, parse_document
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import moment
from orchestration.consent.options import AS_JSON, opened, print_json
from orchestration.consent.signals.registry import NAMES, format_of
from orchestration.consent.signals.signal import Signal, malformed
from orchestration.errors import ExitCode

MOST_SHOWN = 2_000  # of what is refused or silent: a TC string can name 65,535 vendors


@click.command("decode")
@click.argument("name", metavar="NAME", type=click.Choice(NAMES))
@click.argument("string", metavar="STRING")
@AS_JSON
@click.pass_context
def decode(context: click.Context, name: str, string: str, as_json: bool) -> None:
    """Decode a consent signal: what STRING, an encoded string or a document (JSON, XML), says in format NAME.

    `-` reads it from standard input, so that no shell keeps it: a TC string can be personal data. Nothing is stored,
    and no policy is needed. A code that is not granted counts as refused wherever it is asked for.

    \b
      assent consent decode us_privacy 1YNN
      assent consent decode tcf - --json < string.txt

    Exit code 3 for what does not add up: it grants nothing."""
    text = sys.stdin.read(MAX_BODY_BYTES + 1) if string == "-" else string
    signals = [_shown(signal) for signal in _signals(name, text.strip())]
    if as_json:
        print_json({"format": name, "signals": signals})
    else:
        for shown in signals:
            _tell(shown)
    context.exit(ExitCode.REFUSED_INPUT if any(shown["problem"] for shown in signals) else ExitCode.OK)


def _signals(name: str, text: str) -> list[Signal]:
    form = format_of(name)
    if form.decode is not None:
        return [form.decode(text)]
    document = parse_document(text) if len(text) <= MAX_BODY_BYTES else None
    assert form.read is not None
    return form.read(document) if document is not None else [malformed("no JSON or XML document, or too large")]


def _shown(signal: Signal) -> dict[str, Any]:
    answers: Mapping[str, str] = {} if signal.problem else signal.answers
    told: dict[str, list[str]] = {"granted": [], "refused": [], "silent": []}
    for code, answer in answers.items():
        if answer == "granted" or len(told[answer]) < MOST_SHOWN:
            told[answer].append(code)
    return {
        "problem": signal.problem,
        **told,
        "values": dict(signal.values),
        "fields": dict(signal.fields),
    }


def _tell(shown: dict[str, Any]) -> None:
    if shown["problem"]:
        click.echo(f"malformed, so it grants nothing: {shown['problem']}")
        return
    for word in ("granted", "refused", "silent"):
        click.echo(f"{word:<8} {', '.join(shown[word]) or '-'}")
    for name, value in {**shown["values"], **shown["fields"]}.items():
        click.echo(f"  {name}: {value}")


@click.command("requests")
@AS_JSON
@click.pass_context
def requests(context: click.Context, as_json: bool) -> None:
    """List what people have asked for (access, erasure and the like), in the order of the ledger. It names nobody."""
    at = opened(context)
    with open_ledger(at.home, at.keys, at.ledger_at) as (ledger, _):
        found = [
            {
                "seq": row["seq"],
                "request": row["fact"],
                "state": row["state"],
                "controller": row["controller"],
                "asked_at": moment(row["effective_at"]).isoformat(),
                "recorded_at": moment(row["recorded_at"]).isoformat(),
                "feed": row["feed"],
            }
            for row in ledger.requests()
        ]
    if as_json:
        print_json({"requests": found})
        return
    for one in found:
        click.echo(f"{one['seq']:>8} {one['request']:<14} {one['state']:<9} {one['asked_at']} {one['feed']}")
    click.echo(f"{len(found)} request(s)")
