"""Backup and restore of a home that a real run has written, through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.conftest import Finished, assent

PASSPHRASE = "correct horse battery\n"
PERSON = "phone:e164:+8613900000001\n"


def ask(home: Path) -> dict[str, object]:
    """What the home says of itself and of one person."""
    said = {
        "verify": assent(home, "verify", "--json"),
        "status": assent(home, "status", "--json"),
        "consent state": assent(home, "consent", "state", "--identifier-file", "-", "--json", stdin=PERSON),
    }
    for done in said.values():
        assert done.code == 0, done.out + done.err
    return {name: done.json() for name, done in said.items()}


@pytest.mark.fault("F6")
def test_home_comes_back_from_its_backup(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    home = copy_of(built[0])
    before = ask(home)
    files = {name: str(tmp_path / name) for name in ("keys.sealed", "home.sealed")}
    assert assent(home, "keys", "backup", files["keys.sealed"], stdin=PASSPHRASE).code == 0
    made = assent(home, "backup", files["home.sealed"], "--json", stdin=PASSPHRASE)
    assert made.code == 0, made.err
    assert made.json()["unknown"] == [], "every path that a run writes is declared"
    checked = assent(home, "restore", files["home.sealed"], "--check", stdin=PASSPHRASE)
    assert checked.code == 0, checked.err
    shutil.rmtree(home)
    assert assent(home, "restore", files["home.sealed"], stdin=PASSPHRASE).code == 5, "the keys come first"
    assert assent(home, "keys", "restore", files["keys.sealed"], stdin=PASSPHRASE).code == 0
    done = assent(home, "restore", files["home.sealed"], "--json", stdin=PASSPHRASE)
    assert done.code == 0, done.err
    assert done.json()["replay"]["lost"] == 0
    after = ask(home)
    assert {name: after[name] for name in ("status", "consent state")} == {
        name: before[name] for name in ("status", "consent state")
    }
    assert json.dumps(after["verify"]).count('"passed": true') >= json.dumps(before["verify"]).count('"passed": true')
