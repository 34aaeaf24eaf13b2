"""A withdrawal that comes after the build is obeyed by the next export, without a build."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import AS_OF, Finished, assent

PERSONA = "acc-linyu"  # `asked_and_agreed`: in consulted_not_bought_7, reachable by sms and WeChat
CONTACT = "8613900000001"


def audience(home: Path, segment: str, destination: str) -> tuple[list[dict[str, str]], dict[str, Any], Path]:
    """Rows and manifest of the newest export, and its folder."""
    (manifest,) = (home / "outbox" / segment / destination).glob("*/manifest.json")
    found = json.loads(manifest.read_text())
    if found["audience"] is None:
        return [], found, manifest.parent
    with (manifest.parent / "audience.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file)), found, manifest.parent


def withdraw(home: Path, **more: object) -> Finished:
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
    return assent(home, "consent", "import", str(file), "--feed", "consent_center", "--json")


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
