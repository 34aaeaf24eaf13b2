"""The commands `assent consent …`, of which `state` and `history` ask for one subject's records. Identifiers are never
echoed. Not here: imports (`commands_import.py`), signals (`commands_signals.py`), receipts and
withdrawals (`commands_receipts.py`), notices (`commands_notices.py`)."""

from __future__ import annotations

from typing import Any, TextIO

import click

from orchestration.consent.answers import state as answers
from orchestration.consent.commands_import import import_
from orchestration.consent.commands_notices import notice, notify_list
from orchestration.consent.commands_receipts import receipt, receipts, vocabulary, withdraw
from orchestration.consent.commands_signals import decode, requests
from orchestration.consent.options import (
    AS_JSON,
    IDENTIFIERS,
    Opened,
    each_line,
    opened,
    print_json,
    read_moment,
    require_known,
)

KNOWN_AT = click.option(
    "--known-at", help="Only what was on record by then, by the ledger's sequence; ISO 8601 with an offset [all]."
)
CONTROLLER = click.option("--controller", help="Only records of this controller.")
PURPOSE = click.option("--purpose", help="Only records that reach this purpose.")


@click.group()
def consent() -> None:
    """The consent ledger: import records and signals, look at one person's, withdraw, give receipts, keep notices."""


for command in (import_, decode, requests, withdraw, receipt, receipts, vocabulary, notice, notify_list):
    consent.add_command(command)


@consent.command("state")
@IDENTIFIERS
@click.option("--as-of", "as_of", help="What was in force then; ISO 8601 with an offset [now].")
@KNOWN_AT
@CONTROLLER
@PURPOSE
@AS_JSON
@click.pass_context
def state_(
    context: click.Context,
    identifiers: TextIO,
    as_of: str | None,
    known_at: str | None,
    controller: str | None,
    purpose: str | None,
    as_json: bool,
) -> None:
    """What of each identifier's records was in force at a time, as it was known at another.

    \b
    A record per scope, with `in_force`, and why not:
      restricted          refused or withdrawn, here or (`restricted_by`) by a wider record
      waits               it permits, from a time that has not come
      expired             its own end, or the greatest age of a consent, has passed
      notice_superseded   a newer notice asks for the consent again
      ended               a status or link that was lifted
    `narrowed_by` names refusals of a part of it. What permits waits for its time; what restricts acts from its own
    time, or from when it was learned, whichever is first; at equal times the refusal holds.
    """
    home = opened(context)
    asked = _asked(home, known_at, controller, purpose)
    at = read_moment(as_of, "--as-of") or home.now
    found = each_line(
        identifiers,
        lambda line: answers.state(home.home, home.policy, home.keys, line, at, home.ledger_at, asked=asked),
    )
    clocks = {"as_of": at.isoformat(), "known_at": asked.known_at and asked.known_at.isoformat()}
    _show({**clocks, "caveat": answers.CAVEAT, "subjects": _subjects(found)}, as_json)


@consent.command("history")
@IDENTIFIERS
@KNOWN_AT
@CONTROLLER
@PURPOSE
@AS_JSON
@click.pass_context
def history_(
    context: click.Context,
    identifiers: TextIO,
    known_at: str | None,
    controller: str | None,
    purpose: str | None,
    as_json: bool,
) -> None:
    """Every record of each identifier, in order of the time that it took effect.

    `one_act_for` marks grants for several purposes with the same evidence at the same moment: see whether they were
    asked for one by one.
    """
    home = opened(context)
    asked = _asked(home, known_at, controller, purpose)
    found = each_line(
        identifiers,
        lambda line: answers.history(home.home, home.policy, home.keys, line, home.ledger_at, asked=asked),
    )
    _show({"caveat": answers.CAVEAT, "subjects": _subjects(found)}, as_json)


def _asked(at: Opened, known_at: str | None, controller: str | None, purpose: str | None) -> answers.Asked:
    require_known(controller, [c.name for c in at.policy.organisation.controllers], "controller", "--controller")
    require_known(purpose, [p.name for p in at.policy.purposes.purposes], "purpose", "--purpose")
    return answers.Asked(read_moment(known_at, "--known-at"), controller, purpose)


def _subjects(found: list[tuple[int, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    return [{"line": number, "records": records} for number, records in found]


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    for subject in answer["subjects"]:
        click.echo(f"line {subject['line']}: {len(subject['records'])} record(s)")
        for record in subject["records"]:
            click.echo("  " + " ".join(f"{name}={value}" for name, value in record.items()))
    click.echo(answer["caveat"])
