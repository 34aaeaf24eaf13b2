"""The commands `assent ledger …`: bring the database to this version, show its head. Not here: verifying it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestration.consent.database.migrate import migrate
from orchestration.consent.database.store import make_engine
from orchestration.consent.ledger import Ledger
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.settings import Settings

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


@click.group()
def ledger() -> None:
    """The ledger's database: migrate, show its head."""


@ledger.command("migrate")
@AS_JSON
@click.pass_obj
def migrate_(settings: Settings, as_json: bool) -> None:
    """Make the ledger's tables, or bring them to this version. No record is altered; it is all done, or nothing.

    On PostgreSQL set ASSENT_LEDGER_OWNER_URL to the URL of a login that owns the tables and, the first time, may create
    roles. It makes the group role assent_app: grant that, and nothing else, to the login of ASSENT_LEDGER_URL.
    """
    engine = make_engine(_owned(settings))
    try:
        before, after = migrate(engine)
        answer = {"engine": engine.dialect.name, "before": before, "revision": after}
    finally:
        engine.dispose()
    if as_json:
        click.echo(json.dumps(answer))
    else:
        what = "nothing to do" if before == after else "made" if before is None else f"brought from revision {before}"
        click.echo(f"{answer['engine']}: revision {after}, {what}")


@ledger.command("head")
@AS_JSON
@click.pass_obj
def head_(settings: Settings, as_json: bool) -> None:
    """Show how many records there are, the hash of the last, and whether the database refuses to alter them."""
    opened = Ledger.open(settings.ledger_url or _in_home(settings))
    try:
        seq, digest = opened.head()
        gap = opened.append_only_gap
        answer = {
            "engine": opened.engine_name,
            "revision": opened.revision,
            "seq": seq,
            "hash": digest,
            "is_append_only": gap is None,
            "append_only_gap": gap,
        }
    finally:
        opened.close()
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"{seq} records, head {digest}\n{answer['engine']}, revision {answer['revision']}")
        click.echo(f"append-only: {'yes' if gap is None else f'no, {gap}'}")


def _owned(settings: Settings) -> str | Path:
    """Where the ledger is, by the URL of its owner where there is one."""
    if settings.ledger_owner_url is not None and settings.ledger_url is None:
        raise HomeError(
            "it names the owner of a ledger that ASSENT_LEDGER_URL does not name",
            where="ASSENT_LEDGER_OWNER_URL",
            remedy="Set both, or neither for the ledger in the home",
        )
    return settings.ledger_owner_url or settings.ledger_url or _in_home(settings)


def _in_home(settings: Settings) -> Path:
    """It is not made here: a ledger without the registry of its subjects looks like a home that lost it."""
    path = Home.open(settings.home, create=False).ledger_db
    if not path.exists():
        raise HomeError("there is no ledger yet", where=str(path), remedy="The first import or run makes it")
    return path
