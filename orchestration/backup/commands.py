"""`assent backup` and `assent restore`. Not here: what a backup holds (`contents.py`), what a restore does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from orchestration.home import Home
from orchestration.identity.passphrase import ask_passphrase
from orchestration.settings import LedgerAt, Settings

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
Progress = Callable[[int], None]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--wait", type=click.IntRange(min=0), default=0, help="Seconds to wait while a build runs (default: 0).")
@AS_JSON
@click.pass_obj
def backup(settings: Settings, file: Path, wait: int, as_json: bool) -> int:
    """Write everything a home needs to FILE, of one moment, sealed with a passphrase.

    The passphrase is asked for, or is the first line of standard input. The keys are not in it: `assent keys backup`.
    Nor is the anchor: it has to lie elsewhere, and without it nothing can be restored."""
    from orchestration.backup.register import note_backup
    from orchestration.backup.write import write_backup
    from orchestration.identity.keys import Keys

    home = Home.open(settings.home, create=False)
    passphrase = ask_passphrase(confirm=True)
    at, now = settings.ledger_at, datetime.now(UTC)
    with home.lock(timeout=wait), ExitStack() as stack:
        started = _bar(stack, "Backing up")
        report = write_backup(home, Keys.open(home), file, passphrase, at=at, now=now, started=started)
        note_backup(home, "home", file, now=now)
    if as_json:
        _print_json(asdict(report))
        return 0
    facts = report.facts
    click.echo(f"Written: {report.file}, {_size(report.bytes)}, {report.members} files, {facts.ledger_seq} records")
    click.echo(f"  SHA-256 {report.sha256}")
    for why in dict.fromkeys(report.left_out.values()):
        names = ", ".join(name for name, reason in report.left_out.items() if reason == why)
        click.echo(f"  not in it: {names} ({why})")
    for name in report.unknown:
        click.echo(f"  not in it: {name} (Assent does not know it)", err=True)
    click.echo("  Keep it apart from the home. To restore it you need the keys and the anchor too")
    return 0


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--check", is_flag=True, help="Verify FILE, write nothing.")
@click.option("--replay", is_flag=True, help="No FILE: the home was put back by other means; replay what it lacks.")
@click.option("--anchor", type=click.Path(path_type=Path, file_okay=False), help="The anchor's folder [ASSENT_ANCHOR].")
@AS_JSON
@click.pass_obj
def restore(
    settings: Settings, file: Path | None, check: bool, replay: bool, anchor: Path | None, as_json: bool
) -> int:
    """Restore FILE into an empty home, and replay the withdrawals and erasures that came since from the anchor.

    First `assent keys restore KEYFILE --home NEW`, then `assent restore FILE --home NEW`. Nothing may use the home
    until the replay is done, and without the anchor there is no restore: nobody could say who withdrew since.
    Exit code 5 when the home, the keys or the anchor do not fit, 6 when FILE is damaged."""
    if (file is None) != replay or (check and replay):
        raise click.UsageError("Give a FILE, a FILE and --check, or --replay")
    at = settings.ledger_at if anchor is None else replace(settings.ledger_at, anchor=anchor)
    if file is None:
        _tell_restored(_replayed(settings, at), as_json)
    elif check:
        _check(file, as_json)
    else:
        _tell_restored(_restored(settings, file, at), as_json)
    if anchor is not None and anchor != settings.anchor and not as_json:
        click.echo(f"Set ASSENT_ANCHOR={anchor} from now on, or nothing runs")
    return 0


def _check(file: Path, as_json: bool) -> None:
    from orchestration.backup.read import open_backup

    passphrase = ask_passphrase(confirm=False)
    with open_backup(file, passphrase) as opened, ExitStack() as stack:
        sums, digest = opened.unpack(None, _bar(stack, "Checking")(file.stat().st_size))
    facts = opened.facts
    found = {"file": str(file), "sha256": digest, "members": len(sums), "facts": asdict(facts)}
    if as_json:
        _print_json(found)
    else:
        click.echo(f"Good: {file}, made {facts.created_at}, {len(sums)} files, {facts.ledger_seq} records")


def _restored(settings: Settings, file: Path, at: LedgerAt) -> Any:
    from orchestration.backup.restore import restore as restore_into
    from orchestration.policy.loader import load_policy

    policy, passphrase = load_policy(settings.policy_dir), ask_passphrase(confirm=False)
    with ExitStack() as stack:
        started, now = _bar(stack, "Unpacking"), datetime.now(UTC)
        return restore_into(settings.home, file, passphrase, policy=policy, at=at, now=now, started=started)


def _replayed(settings: Settings, at: LedgerAt) -> Any:
    from orchestration.backup.restore import replay_in_place
    from orchestration.policy.loader import load_policy

    policy = load_policy(settings.policy_dir)
    return replay_in_place(settings.home, policy=policy, at=at, now=datetime.now(UTC))


def _tell_restored(report: Any, as_json: bool) -> None:
    if as_json:
        _print_json(asdict(report))
        return
    facts, replayed = report.facts, report.replay
    if facts is not None:
        click.echo(f"Restored: a backup of {facts.created_at}, {report.members} files, {_size(report.bytes)}")
    click.echo(f"  the ledger stood at record {replayed.stood_at[0]}, its anchor at {replayed.anchored_at[0]}")
    click.echo(f"  replayed: {replayed.replayed} records that restrict; {replayed.erased} people stay erased")
    if report.erased_again.get("identifiers"):
        gone = ", ".join(f"{name} {number}" for name, number in report.erased_again.items() if number)
        click.echo(f"  erased again, who was erased since: {gone}")
    if replayed.subjects or replayed.contacts:
        click.echo(
            f"  put back: {replayed.subjects} entries of the registry; {replayed.contacts} contacts that no key opens "
            "were removed"
        )
    if replayed.lost:
        click.echo(
            f"  lost: {replayed.lost} records that permit, recorded from {replayed.lost_since} to {replayed.lost_until}"
        )
    since = facts.created_at if facts is not None else replayed.lost_since
    if facts is not None or replayed.lost:
        click.echo(f"  Deliver again the consent files and the source files since {since}; until then they deny")
    if facts is not None:
        click.echo("  Deliveries since the backup are not on record: frequency caps and removal lists miss them")
    click.echo("Keep one copy of this home: once it has grown, its anchor refuses the others")


def _bar(stack: ExitStack, label: str) -> Callable[[int], Progress]:
    """Shows progress on a terminal and nothing elsewhere."""

    def started(total: int) -> Progress:
        if not sys.stderr.isatty():
            return lambda _: None
        bar = stack.enter_context(click.progressbar(length=total, label=label, file=sys.stderr))
        return bar.update

    return started


def _size(number: int) -> str:
    return f"{number / 1_000_000:,.1f} MB"


def _print_json(content: dict[str, Any]) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))
