"""`assent keys`: make, check, back up and restore the keys of a home. No key is ever printed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from orchestration.backup.register import note_backup
from orchestration.home import Home
from orchestration.identity.backup import restore_backup, write_backup
from orchestration.identity.keys import BACKUP_ADVICE, Keys, SubjectRegistry
from orchestration.identity.passphrase import ask_passphrase
from orchestration.identity.rotation import rotate_keys
from orchestration.settings import load_settings

HOME = click.option("--home", "root", type=click.Path(path_type=Path), help="The home (default: ASSENT_HOME).")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def keys() -> None:
    """The keys of a home. Without them nothing old can be recognised: keep a backup apart."""


@keys.command()
@HOME
@AS_JSON
def init(root: Path | None, as_json: bool) -> None:
    """Make a home and its keys, if there are none."""
    made = Keys.open(_home(root, create=True))
    text = BACKUP_ADVICE if made.created else "The keys were there already; nothing was changed"
    _say(as_json, f"{text}. Keys: {made.id}", keys=made.id, created=made.created)


@keys.command()
@HOME
@AS_JSON
def check(root: Path | None, as_json: bool) -> None:
    """Check that the keys are those of the home and open what they protect. Exit code 5 if not."""
    home = _home(root)
    found = Keys.open(home)
    with SubjectRegistry(home, found) as registry:
        subjects = registry.verify()
    _say(as_json, f"The keys are good: {found.id}, {subjects} subjects", keys=found.id, subjects=subjects)


@keys.command()
@HOME
@AS_JSON
def rotate(root: Path | None, as_json: bool) -> None:
    """Seal with a new master key from now on. Tokens stay, so everyone is still the same person; what was sealed
    before still opens. An interrupted rotation is finished by another."""
    home = _home(root)
    with home.lock():
        found, people = rotate_keys(home)
    text = f"Rotated: {found.check}, {people} keys of people sealed again. Older backups of the keys open no new data: "
    _say(as_json, f"{text}run `assent keys backup FILE` now", keys=found.id, latest=found.check, people=people)


@keys.command()
@FILE
@HOME
@AS_JSON
def backup(file: Path, root: Path | None, as_json: bool) -> None:
    """Write the keys to FILE, sealed with a passphrase (asked for, or the first line of standard input)."""
    home = _home(root)
    found = Keys.open(home)
    write_backup(home, found, file, ask_passphrase(confirm=True))
    note_backup(home, "keys", file, now=datetime.now(UTC))
    text = f"Written: {file}. Keep it apart from the home, renew it often and delete older ones"
    _say(as_json, text, keys=found.id, file=str(file))


@keys.command()
@FILE
@HOME
@AS_JSON
def restore(file: Path, root: Path | None, as_json: bool) -> None:
    """Put back keys that are missing, from the FILE that `keys backup` wrote."""
    home = _home(root, create=True)
    with home.lock():
        restored = restore_backup(home, file, ask_passphrase(confirm=False))
        found = Keys.open(home)
    parts = [n for n, done in (("master key", restored.master_key), ("registry", restored.registry)) if done]
    text = f"Restored: {', '.join(parts) or 'nothing was missing'}. Keys: {found.id}"
    _say(as_json, text, keys=found.id, master_key=restored.master_key, registry=restored.registry)


def _home(root: Path | None, *, create: bool = False) -> Home:
    return Home.open(root or load_settings().home, create=create)


def _say(as_json: bool, text: str, **values: Any) -> None:
    click.echo(json.dumps(values, sort_keys=True) if as_json else text)
