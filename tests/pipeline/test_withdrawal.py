"""A withdrawal that comes after the build is obeyed by the next export, without a build."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.backup.copies import copy_rows
from tests.pipeline.conftest import AS_OF, Finished, assent
from tests.postgres import LOGIN, Server

PERSONA = "acc-linyu"  # `asked_and_agreed`: in consulted_not_bought_7, reachable by sms and WeChat
CONTACT = "8613900000001"


def audience(home: Path, segment: str, destination: str) -> tuple[list[dict[str, str]], dict[str, Any], Path]:
    """Rows and manifest of the newest export, and its folder."""
    (manifest,) = (home / "outbox" / segment / destination).glob("*/manifest.json")
    found = json.loads(manifest.read_text()) | json.loads(manifest.with_name("withheld.json").read_text())
    if found["audience"] is None:
        return [], found, manifest.parent
    with (manifest.parent / "audience.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file)), found, manifest.parent


def withdraw(home: Path, ledger_url: str = "", **more: object) -> Finished:
    record = {
        "event_id": "late-1",
        "type": "consent",
        "subject": {"kind": "account", "issuer": "shop", "value": PERSONA},
        "controller": "shop",
        "purpose": "sms_marketing",
        "decision": "withdraw",
        "effective_at": AS_OF,
        **more,
    }
    file = home / "landing" / "late.jsonl"  # a demo home takes nothing from elsewhere
    file.write_text(json.dumps(record) + "\n")
    command = ("consent", "import", str(file), "--feed", "consent_center", "--json")
    return assent(home, *command, ASSENT_LEDGER_URL=ledger_url)


def test_withdrawal_after_the_build_keeps_the_person_out(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    home = copy_of(built[0])
    before, manifest, _ = audience(home, "consulted_not_bought_30", "sms_gateway")
    assert CONTACT in {row["contact"] for row in before}
    assert withdraw(home).code == 0
    done = assent(home, "export", "--json")
    assert done.code == 0, done.err
    after, later, folder = audience(home, "consulted_not_bought_30", "sms_gateway")
    assert later["generation"] == manifest["generation"], "no build was needed"
    assert CONTACT not in {row["contact"] for row in after}
    assert later["withheld"].get("withdrawn") == manifest["withheld"].get("withdrawn", 0) + 1
    assert later["ledger_seq"] > manifest["ledger_seq"]
    with (folder / "removals.csv").open(encoding="utf-8-sig", newline="") as file:
        assert CONTACT in {row["contact"] for row in csv.DictReader(file)}


def test_withdrawal_is_obeyed_where_the_ledger_is_on_postgresql(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path], postgres_server: Server
) -> None:
    """As the application's login, which may read and append only."""
    home = copy_of(built[0])
    url = postgres_server.url(postgres_server.ledger(), LOGIN)
    copy_rows(home / "ledger.sqlite", url)
    for file in home.glob("ledger.sqlite*"):
        file.unlink()
    assert withdraw(home, url).code == 0
    done = assent(home, "export", "--json", ASSENT_LEDGER_URL=url)
    assert done.code == 0, done.err
    rows, _, _ = audience(home, "consulted_not_bought_30", "sms_gateway")
    assert rows and CONTACT not in {row["contact"] for row in rows}
    asked = assent(home, "consent", "state", "--identifier-file", "-", stdin=f"account:shop:{PERSONA}",
                   ASSENT_LEDGER_URL=url)  # fmt: skip
    assert "decision=withdraw" in asked.out
    assert assent(home, "verify", ASSENT_LEDGER_URL=url).code == 0
    assert not (home / "ledger.sqlite").exists()
    without = assent(home, "export")
    assert without.code == 5
    assert "ASSENT_LEDGER_URL" in without.err
    assert not list((home / "outbox").glob("*/*/*/manifest.json")), "what cannot be rechecked is taken back"


@pytest.mark.fault("H2")
def test_unreadable_withdrawal_stops_what_depends_on_its_feed(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    """Whose withdrawal it was cannot be told: every audience of the feed's controllers stops (fault H2)."""
    home = copy_of(built[0])
    withdraw(home, subject={"kind": "account", "issuer": "shop", "value": ""})
    done = assent(home, "export", "--json")
    for segment, destination in (("consulted_not_bought_30", "sms_gateway"), ("second_purchase", "email_service")):
        rows, manifest, _ = audience(home, segment, destination)
        assert rows == [], done.err
        assert manifest["withheld"].get("feed_stale", 0) > 0
