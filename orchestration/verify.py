"""`assent verify`: whether the ledger and the published generation still are what was written.

Not here: whether the home is fit to run (`doctor.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click

from orchestration.errors import ExitCode
from orchestration.home import Home
from orchestration.settings import Settings
from orchestration.verdict import Verdict

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")


@click.group(invoke_without_command=True)
@AS_JSON
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> int:
    """Verify the ledger's hash chain and the published generation. Exit code 6 when something does not hold."""
    if ctx.invoked_subcommand is None:
        return tell(ctx.obj, as_json, verify_ledger, verify_generation)
    return 0


@verify.command("ledger")
@AS_JSON
@click.pass_obj
def ledger_(settings: Settings, as_json: bool) -> int:
    """Verify that no consent record was edited, removed, inserted or reordered, and that the ledger is the one that its
    anchor has signed: not cut, not rewritten, not put back from an older copy."""
    return tell(settings, as_json, verify_ledger)


@verify.command("script")
def script_() -> None:
    """Print the verifier for auditors, to be saved and run anywhere: it needs Python alone, and nothing of Assent."""
    from orchestration.consent.anchoring import verify_offline

    click.echo(Path(verify_offline.__file__).read_text(encoding="utf-8"), nl=False)


@verify.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def export_(settings: Settings, file: Path) -> None:
    """Write every record of the ledger, without details and names, to FILE: what the verifier for auditors reads."""
    from orchestration.consent.dump import write_dump
    from orchestration.consent.ledger import Ledger

    home = Home.open(settings.home, create=False)
    with closing(Ledger.open(settings.ledger_at.url or home.ledger_db)) as ledger:
        click.echo(f"{write_dump(ledger, file)} records written to {file}", err=True)


@verify.command("generation")
@AS_JSON
@click.pass_obj
def generation_(settings: Settings, as_json: bool) -> int:
    """Verify that the published file is the one that passed its checks, byte for byte, and holds the same rows."""
    return tell(settings, as_json, verify_generation)


def tell(settings: Settings, as_json: bool, *checks: Callable[[Settings, Home], list[Verdict]]) -> int:
    home = Home.open(settings.home, create=False)
    verdicts = [verdict for check in checks for verdict in check(settings, home)]
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in verdicts], ensure_ascii=False, indent=2))
    else:
        for verdict in verdicts:
            click.echo(f"{'ok  ' if verdict.passed else 'BAD '} {verdict.name:<22} {verdict.detail}")
    return int(ExitCode.OK if all(verdict.passed for verdict in verdicts) else ExitCode.VERIFY)


def verify_ledger(settings: Settings, home: Home) -> list[Verdict]:
    from orchestration.consent.anchoring.anchor import Anchor
    from orchestration.consent.ledger import Ledger
    from orchestration.consent.verify import verify_whole
    from orchestration.identity.keys import Keys, SubjectRegistry
    from orchestration.warehouse.publish import published

    keys, at = Keys.open(home), settings.ledger_at
    with SubjectRegistry(home, keys) as registry, closing(Ledger.open(at.url or home.ledger_db, keys=keys)) as ledger:
        verdicts = verify_whole(ledger, registry, Anchor(home, keys, at))
        seq = ledger.head()[0]
    current = published(home)
    built = 0 if current is None else current.ledger_seq
    return [*verdicts, Verdict("not older than build", seq >= built, f"head {seq}, built from {built}")]


def verify_generation(settings: Settings, home: Home) -> list[Verdict]:
    from orchestration.evidence import counts
    from orchestration.warehouse.build import warehouse_file
    from orchestration.warehouse.content import content_hash
    from orchestration.warehouse.gate import file_sha256
    from orchestration.warehouse.publish import published

    current = published(home)
    if current is None:
        return [Verdict("generation", False, "nothing is published; run `assent run`")]
    same = file_sha256(warehouse_file(home, current.generation)) == current.file_sha256
    if not same:
        return [Verdict("file", False, f"{current.generation} is not the file that passed its checks")]
    noted = counts.load(home, current.generation)["content_hash"]
    found = content_hash(home, current.generation)
    return [
        Verdict("file", True, f"{current.generation} is the file that passed its checks"),
        Verdict("content", found == noted, f"content hash {found[:12]}, evidence says {noted[:12]}"),
    ]
