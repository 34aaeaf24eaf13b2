"""How long withdrawals took per destination, and the exports that went out before one was known."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration.cli import root
from orchestration.exports import deliveries
from orchestration.exports.export import export_generation
from orchestration.exports.withdrawals import Withdrawals, measure_withdrawals
from orchestration.settings import Settings
from orchestration.warehouse.checks import CheckResult
from tests.generation_fixture import AS_OF, EMAIL, LATER, SMS, World, copy_world

HOUR = timedelta(hours=1)


@pytest.fixture
def world(template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    from orchestration.evidence import expectations

    monkeypatch.setattr(expectations, "check_export", lambda *_: [CheckResult("exports", "good", True)])
    return copy_world(template, tmp_path)


def export(world: World, now: datetime) -> None:
    export_generation(world.home, world.policy, world.keys, now=now, policy_hash=world.build.policy_hash)


def measured(world: World, now: datetime = LATER + 9 * HOUR) -> Withdrawals:
    return measure_withdrawals(world.home, world.policy, world.keys, now=now)


def test_nothing_delivered_nothing_late(world: World) -> None:
    world.tell("bob", decision="withdraw", purpose="sms_marketing")
    export(world, LATER + HOUR)
    assert measured(world) == Withdrawals([], [])


def test_time_runs_from_the_record_and_from_the_decision_to_the_removal(world: World) -> None:
    export(world, LATER)
    for name, hours in (("bob", 1), ("cat", 2)):  # each decided an hour before it is recorded
        at = LATER + hours * HOUR
        world.tell(name, kind="cookie", decision="withdraw", purpose="sms_marketing", at=at, now=at + HOUR)
    waiting = {found.destination: found for found in measured(world).promptness}
    assert {name: (found.answered, found.outstanding) for name, found in waiting.items()} == {
        "sms_gateway": (0, 2),
        "wechat_broadcast": (0, 2),
    }
    export(world, LATER + 5 * HOUR)
    sms, wechat = measured(world).promptness
    assert (wechat.answered, wechat.outstanding) == (2, 0)
    assert (sms.destination, sms.answered, sms.outstanding) == ("sms_gateway", 2, 0)
    assert (sms.from_known.p50, sms.from_known.max) == (2 * 3600, 3 * 3600)
    assert (sms.from_decision.p99, sms.from_decision.max) == (4 * 3600, 4 * 3600)
    export(world, LATER + 6 * HOUR)
    assert measured(world).promptness == [sms, wechat], "another export changes nothing"
    assert measured(world).late_exposures == []


@pytest.mark.fault("B4")
def test_late_withdrawal_is_suppressed_next_and_names_the_exports_since_its_own_time(world: World) -> None:
    export(world, LATER)
    world.tell("ann", decision="withdraw", purpose="sms_marketing", at=AS_OF - 30 * 24 * HOUR, now=LATER + HOUR)
    world.tell("bob", decision="withdraw", purpose="sms_marketing", at=LATER + HOUR, now=LATER + HOUR)
    export(world, LATER + 2 * HOUR)
    left = deliveries.log(world.home, "removals", SMS, "sms_gateway")["token"].to_pylist()
    assert world.token("ann", "phone") in left
    late = {(found.segment, found.destination): found for found in measured(world).late_exposures}
    found = late[SMS, "sms_gateway"]
    assert (found.people, found.generation) == (1, world.build.generation)
    assert found.first_delivered_at == found.last_delivered_at == LATER
    assert not any(segment == EMAIL for segment, _ in late), "another purpose was not exposed"
    assert len(found.records) == 1


def test_who_returns_is_timed_anew(world: World) -> None:
    export(world, LATER)
    names = (world.home, SMS, "sms_gateway", "g2")
    everybody = deliveries.delivered(world.home, SMS, "sms_gateway")
    gone = {world.token("dan", "phone")}
    assert deliveries.record_removals(*names, everybody - gone, now=LATER + HOUR) == 1
    assert deliveries.record_removals(*names, everybody - gone, now=LATER + 2 * HOUR) == 0
    assert deliveries.record(*names, everybody, now=LATER + 3 * HOUR) == 5
    assert deliveries.record(*names, everybody, now=LATER + 4 * HOUR) == 0
    assert deliveries.record_removals(*names, everybody - gone, now=LATER + 5 * HOUR) == 1


def test_export_killed_before_it_noted_the_removals_notes_them_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(world, LATER)
    world.tell("bob", decision="withdraw", purpose="sms_marketing", at=LATER + HOUR, now=LATER + HOUR)
    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "record_removals", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(world, LATER + 2 * HOUR)
    export(world, LATER + 4 * HOUR)
    (sms,) = [found for found in measured(world).promptness if found.destination == "sms_gateway"]
    assert (sms.answered, sms.from_known.max) == (1, 3600), "by the manifest's time, not that of the next run"


def test_command_tells_and_answers_in_json(world: World) -> None:
    export(world, LATER)
    world.tell("ann", decision="withdraw", purpose="sms_marketing", at=AS_OF, now=LATER + HOUR)
    export(world, LATER + 2 * HOUR)
    settings = Settings(home=world.home.root)
    found = json.loads(_said(settings, "--json"))
    assert found["late_exposures"][0]["people"] == 1
    text = _said(settings)
    assert "1 answered" in text and "late: " in text
    assert world.token("ann", "phone") not in text


def _said(settings: Settings, *words: str) -> str:
    result = CliRunner().invoke(root, ["withdrawals", *words], obj=settings, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output
