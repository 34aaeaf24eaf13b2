"""An older backup brings nobody back who was erased since (F6): every place is erased again before it is a home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestration.backup.restore import replay_in_place, restore
from orchestration.backup.write import write_backup
from orchestration.home import Home
from orchestration.identity import passphrase
from orchestration.identity.backup import write_backup as write_keys
from orchestration.identity.keys import SubjectRegistry
from orchestration.retention import restored
from orchestration.retention.search import Found
from orchestration.retention.suppressions import FILE
from orchestration.retention.verification import verify_erasure
from orchestration.settings import IN_HOME, LedgerAt
from tests.erasure_world import ANN_VALUES, DUE, erased, scattered_world, site_of
from tests.generation_fixture import World
from tests.homes import copy_home
from tests.unit.test_backup import new_home
from tests.unit.test_exports import quick_checks
from tests.unit.test_retention_erasure import rest_of

__all__ = ["quick_checks", "scattered_world"]  # fixtures
PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cheap scrypt."""
    monkeypatch.setattr(passphrase, "SCRYPT_COST", 2)


def look(world: World, home: Home, at: LedgerAt) -> Found:
    """The search in a home that came back, by the identifiers: nobody knows the person any more."""
    site = site_of(world)
    site = type(site)(home, site.policy, site.keys, at)
    lines = [f"{kind}:{issuer}:{value}" for (kind, issuer), value in zip(
        (("phone", "e164"), ("email", "email"), ("openid", "wx-oa-shop"), ("cookie", "shop.example.com")),
        ANN_VALUES, strict=True)]  # fmt: skip
    return verify_erasure(site, None, lines, now=DUE)[0]


@pytest.mark.fault("F6")
def test_older_backup_is_erased_again_before_it_is_a_home(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last week's backup, and its keys, hold the person in lake, vault, quarantine, archive and a generation."""
    before = rest_of(world)
    file = tmp_path / "home.backup"
    write_backup(world.home, world.keys, file, PASSPHRASE, at=IN_HOME, now=DUE, started=lambda _: lambda _: None)
    write_keys(world.home, world.keys, tmp_path / "keys.sealed", PASSPHRASE)
    new, _ = erased(world)
    at = LedgerAt(None, world.home.root.with_name("home.anchor"))
    root = new_home(tmp_path / "again", tmp_path / "keys.sealed")
    seen: list[bool] = []
    real = restored.erase_restored

    def watched(home: Home, *arguments: Any, **named: Any) -> dict[str, int]:
        seen.append(Home(root).file.is_file())
        return real(home, *arguments, **named)

    monkeypatch.setattr("orchestration.backup.restore.erase_restored", watched)
    report = restore(root, file, PASSPHRASE, policy=world.policy, at=at, now=DUE, started=lambda _: lambda _: None)
    assert seen == [False], "it is no home yet"
    again = report.erased_again
    assert (again["identifiers"], again["rows"], again["cells"], again["links"]) == (5, 2, 1, 2)
    assert (again["lines"], again["archived"], again["contacts"], again["generations"]) == (1, 1, 0, 1)
    home = Home.open(root, create=False)
    assert (home.keys / FILE).is_file()
    with SubjectRegistry(home, world.keys) as registry:
        assert registry.lookup(world.token("ann", "phone")) is None
    back = type(new)(home, new.policy, new.keys, new.build, new.people)
    kept = rest_of(back)
    assert (kept["links"], kept["vault"]) == (before["links"], before["vault"])
    assert {r["touchpoint_key"] for r in kept["lake"]} == {r["touchpoint_key"] for r in before["lake"]} | {"bob-3"}
    found = look(world, home, at)
    assert found.hits == {} and found.is_sound
    assert not home.published.exists()


@pytest.mark.fault("F6")
def test_home_put_back_by_other_means_is_erased_again(world: World, tmp_path: Path) -> None:
    """A snapshot of the machine: the folder as it was, the anchor as it is."""
    snapshot = copy_home(world.home.root, tmp_path / "snapshot")
    new, _ = erased(world)
    anchor = world.home.root.with_name("home.anchor")
    at = LedgerAt(None, anchor)
    report = replay_in_place(snapshot, policy=world.policy, at=at, now=DUE)
    assert report.erased_again["identifiers"] == 5
    home = Home.open(snapshot, create=False)
    again = replay_in_place(snapshot, policy=world.policy, at=at, now=DUE)
    assert again.erased_again == {"lines": 0, "archived": 0, "identifiers": 0}, "doing it again changes nothing"
    with SubjectRegistry(home, world.keys) as registry:
        assert registry.lookup(new.token("bob", "phone")) is not None
        assert registry.lookup(world.token("ann", "phone")) is None
