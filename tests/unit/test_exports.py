"""Exports of a published generation: recheck, removals, manifest last, idempotence, refusals."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestration.consent.anchoring.signed_heads import AnchorError
from orchestration.errors import AssentError, VerifyError
from orchestration.exports import deliveries, writer
from orchestration.exports import export as module
from orchestration.exports.export import ExportResult, export_generation
from orchestration.exports.manifest import NAME, PRIVATE, read_manifest
from orchestration.identity.vault import Vault
from orchestration.policy.schema import Policy
from orchestration.warehouse.checks import CheckResult
from tests.generation_fixture import AS_OF, EMAIL, LATER, PUSH, RECALL, SMS, World, copy_world, make_world


@pytest.fixture(autouse=True)
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """great-expectations takes 4 s to import; test_evidence_expectations.py has its own tests."""
    from orchestration.evidence import expectations

    good = [CheckResult("exports", "good", True)]
    monkeypatch.setattr(expectations, "check_export", lambda *_: good)


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    return copy_world(template, tmp_path)


def run(world: World, now: datetime = LATER, policy: Policy | None = None) -> dict[tuple[str, str], ExportResult]:
    results = export_generation(
        world.home, policy or world.policy, world.keys, now=now, policy_hash=world.build.policy_hash
    )
    return {(result.segment, result.destination): result for result in results}


def folder(world: World, segment: str, destination: str) -> Path:
    return world.home.outbox / segment / destination / world.build.generation


def read(path: Path, encoding: str = "utf-8-sig") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(encoding), newline="")))


def contacts(world: World, segment: str = SMS, destination: str = "sms_gateway", file: str = "audience") -> set[str]:
    return {row["contact"] for row in read(folder(world, segment, destination) / f"{file}.csv")}


def phones(world: World, *names: str) -> set[str]:
    return {world.people[name].contacts["phone"].removeprefix("+") for name in names}


def changed(policy: Policy, destination: str, **values: Any) -> Policy:
    places = tuple(
        d.model_copy(update=values if d.name == destination else {}) for d in policy.destinations.destinations
    )
    return policy.model_copy(update={"destinations": policy.destinations.model_copy(update={"destinations": places})})


EVERYBODY = ("ann", "bob", "cat", "dan", "eve")


def test_export_writes_exactly_the_policys_columns_and_manifest(world: World) -> None:
    results = run(world)
    place = folder(world, SMS, "sms_gateway")
    rows = read(place / "audience.csv")
    assert list(rows[0]) == ["contact", "audience_key", "segment", "consent_until", "admitted_by", "notice"]
    assert contacts(world) == phones(world, *EVERYBODY)
    manifest = json.loads((place / NAME).read_bytes())
    assert manifest["audience"]["rows"] == 5
    assert "withheld" not in manifest, "why somebody is not in it is for the owner alone"
    assert (place / PRIVATE).stat().st_mode & 0o077 == 0
    assert manifest["audience"]["sha256"] == results[SMS, "sms_gateway"].sha256
    assert manifest["contact_written_as"] == "e164_digits"
    assert manifest["policy_hash"] == world.build.policy_hash
    assert datetime.fromisoformat(manifest["expires_at"]) == LATER + timedelta(hours=48)
    assert results[EMAIL, "overseas_crm"].withheld == {"transfer_not_allowed": 5}
    assert read(folder(world, RECALL, "front_desk") / "audience.csv", "gb18030")[0]["contact"] == "13900139000"
    pushed = pq.read_table(folder(world, PUSH, "push_service") / "audience.parquet")
    assert set(pushed["contact"].to_pylist()) == {f"=push-{name}" for name in EVERYBODY}


def test_second_run_changes_nothing(world: World) -> None:
    run(world)
    before = {path: path.stat().st_mtime_ns for path in world.home.outbox.rglob("*") if path.is_file()}
    again = run(world, LATER + timedelta(hours=1))
    assert {result.status for result in again.values()} == {"unchanged"}
    assert before == {path: path.stat().st_mtime_ns for path in world.home.outbox.rglob("*") if path.is_file()}
    assert len(deliveries.delivered(world.home, SMS, "sms_gateway")) == 5


def test_withdrawal_since_the_build_leaves_the_file_and_enters_the_removals(world: World) -> None:
    run(world)
    world.tell("bob", kind="cookie", decision="withdraw", purpose="sms_marketing")  # a weak identifier of his
    results = run(world)
    assert contacts(world) == phones(world, "ann", "cat", "dan", "eve")
    assert contacts(world, file="removals") == phones(world, "bob")
    assert results[SMS, "sms_gateway"].withheld == {"withdrawn": 1}
    assert results[EMAIL, "email_service"].status == "unchanged", "another purpose is untouched"
    assert results[RECALL, "front_desk"].status == "unchanged", "another controller is untouched"


def test_stage_taken_back_since_the_build_stops_the_segments_that_rest_on_it(world: World) -> None:
    """Its SQL reads what only full registration allows to read (R-10)."""
    world.tell("bob", decision="withdraw", purpose="full_profile")
    world.tell("cat", decision="withdraw", purpose="advocacy")  # a stage that it does not rest on
    results = run(world)
    assert contacts(world) == phones(world, "ann", "cat", "dan", "eve")
    assert results[SMS, "sms_gateway"].withheld == {"withdrawn": 1}
    assert "withdrawn" not in results[EMAIL, "email_service"].withheld


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"decision": "withdraw"}, "withdrawn"),  # no scope: all of it
        (
            {"decision": "object", "purpose": "sms_marketing", "at": LATER + timedelta(days=9)},
            "objected",
        ),  # acts at once
        ({"decision": "no_such_decision", "purpose": "sms_marketing"}, "denied"),
        ({"decision": "deny", "purpose": "no_such_purpose"}, "denied"),
        ({"decision": "deny", "purpose": "sms_marketing", "category": "behaviour"}, "denied"),
        ({"decision": "deny", "purpose": "sms_marketing", "channel": "sms"}, "denied"),
        ({"decision": "withdraw", "purpose": "identity"}, "withdrawn"),  # who is whom is no longer known
        ({"type": "status", "fact": "erased", "state": "on"}, "erased"),
        ({"type": "status", "fact": "suppressed", "state": "on"}, "suppressed"),
        ({"type": "age", "until": LATER + timedelta(days=400)}, "minor_without_guardian"),
        ({"type": "permission", "channel": "sms", "state": "closed"}, "permission_missing"),
    ],
)
def test_record_since_the_build_keeps_the_person_out(world: World, record: dict[str, Any], reason: str) -> None:
    world.tell("cat", **record)
    assert run(world)[SMS, "sms_gateway"].withheld == {reason: 1}
    assert contacts(world) == phones(world, "ann", "bob", "dan", "eve")


@pytest.mark.parametrize(
    "record",
    [
        {"decision": "grant", "purpose": "sms_marketing", "method": "explicit_click"},
        {"decision": "withdraw", "purpose": "email_marketing"},
        {"decision": "withdraw", "recipient": "partner_ads"},
        {"decision": "deny", "purpose": "sms_marketing", "channel": "wechat_oa"},
        {"decision": "deny", "purpose": "sms_marketing", "category": "sensitive"},  # the segment reads none
        {"type": "status", "fact": "suppressed", "state": "off"},
        {"type": "age", "until": AS_OF - timedelta(days=400)},
        {"type": "permission", "channel": "call", "state": "closed"},
    ],
)
def test_record_of_another_scope_keeps_nobody_out(world: World, record: dict[str, Any]) -> None:
    world.tell("cat", **record)
    assert run(world)[SMS, "sms_gateway"].withheld == {}
    assert contacts(world) == phones(world, *EVERYBODY)


def test_new_link_keeps_both_ends_out_until_the_next_build(world: World) -> None:
    world.tell("ann", type="link", other=world.subject("bob"), method="login", state="on")
    assert run(world)[SMS, "sms_gateway"].withheld == {"unresolved_identity": 2}


def test_consent_that_ended_since_the_build_keeps_the_person_out(tmp_path: Path) -> None:
    world = make_world(tmp_path, consent_until=AS_OF + timedelta(hours=1))
    assert run(world)[SMS, "sms_gateway"].withheld == {"expired": 5}
    assert not (folder(world, SMS, "sms_gateway") / "audience.csv").exists()


def test_minimum_size_is_checked_again_and_the_old_file_taken_back(world: World) -> None:
    run(world)
    for name in ("ann", "bob", "cat", "dan"):
        world.tell(name, decision="withdraw")
    result = run(world)[SMS, "sms_gateway"]
    assert (result.status, result.rows) == ("withheld", 0)
    assert result.withheld == {"below_minimum_size": 1, "withdrawn": 4}
    assert not (folder(world, SMS, "sms_gateway") / "audience.csv").exists()
    assert contacts(world, file="removals") == phones(world, *EVERYBODY)


@pytest.mark.fault("H3")
def test_silent_feed_stops_the_export_but_removes_only_those_who_withdrew(world: World) -> None:
    run(world)
    world.tell("ann", decision="withdraw")
    result = run(world, AS_OF + timedelta(hours=37))[SMS, "sms_gateway"]
    assert result.withheld == {"feed_stale": 4, "withdrawn": 1}
    assert not (folder(world, SMS, "sms_gateway") / "audience.csv").exists()
    assert contacts(world, file="removals") == phones(world, "ann")
    world.hear(AS_OF + timedelta(hours=36))
    assert run(world, AS_OF + timedelta(hours=37))[SMS, "sms_gateway"].rows == 4


@pytest.mark.fault("H2")
def test_incomplete_feed_stops_the_export(world: World) -> None:
    world.hear(LATER, state="incomplete")
    assert run(world)[SMS, "sms_gateway"].withheld == {"feed_stale": 5}


def test_contact_abroad_without_a_mechanism_never_leaves(world: World) -> None:
    result = run(world, policy=changed(world.policy, "sms_gateway", country="NL"))[SMS, "sms_gateway"]
    assert result.withheld == {"transfer_not_allowed": 5}


def test_person_without_a_writable_contact_is_counted(world: World) -> None:
    with sqlite3.connect(world.home.vault_db) as con:
        con.execute("delete from contacts where token = ?", [world.token("dan", "phone")])
    assert run(world)[SMS, "sms_gateway"].withheld == {"no_contact_point": 1}


def test_erased_removal_is_counted_where_it_cannot_be_listed(world: World) -> None:
    run(world)
    world.tell("dan", type="status", fact="erased", state="on")
    with sqlite3.connect(world.home.vault_db) as con:
        con.execute("delete from contacts where token = ?", [world.token("dan", "phone")])
    run(world)
    manifest = read_manifest(folder(world, SMS, "sms_gateway"))
    assert manifest is not None and manifest.unlistable_removals == 1
    assert contacts(world, file="removals") == set()


def test_row_limit_and_failed_checks_fail_one_export_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run(world)
    world.tell("ann", decision="withdraw")
    results = run(world, policy=changed(world.policy, "sms_gateway", row_limit=3))
    assert results[SMS, "sms_gateway"].status == "failed"
    assert "row_limit 3" in results[SMS, "sms_gateway"].failure
    assert not list(folder(world, SMS, "sms_gateway").iterdir()), "what was there held somebody who withdrew"
    assert results[EMAIL, "email_service"].rows == 4

    from orchestration.evidence import expectations

    bad = [CheckResult("exports", "no_cell_starts_a_formula", False)]
    monkeypatch.setattr(expectations, "check_export", lambda *_: bad)
    failed = run(world)[SMS, "sms_gateway"]
    assert (failed.status, failed.failure) == ("failed", "checks failed: no_cell_starts_a_formula")
    assert not (folder(world, SMS, "sms_gateway") / NAME).exists()


@pytest.mark.parametrize("point", ["write_file", "record", "write_manifest"])
def test_killed_export_leaves_nothing_deliverable_and_the_next_run_mends_it(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    run(world)
    world.tell("ann", decision="withdraw", purpose="sms_marketing")
    owner = {"write_file": writer, "record": deliveries, "write_manifest": module}[point]

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, point, die)
        with pytest.raises(KeyboardInterrupt):
            run(world)
    assert read_manifest(folder(world, SMS, "sms_gateway")) is None
    (folder(world, SMS, "sms_gateway") / "tmp_audience.csv.x").write_bytes(b"left aside")
    run(world)
    assert contacts(world) == phones(world, "bob", "cat", "dan", "eve")
    assert contacts(world, file="removals") == phones(world, "ann")
    assert not list(world.home.outbox.rglob("tmp_*"))


def test_older_generation_and_dropped_destination_are_taken_back(world: World) -> None:
    run(world)
    old = folder(world, SMS, "sms_gateway").parent / "0000"
    old.mkdir()
    (old / "audience.csv").write_text("older people")
    dropped = world.home.outbox / SMS / "no_longer" / "0000"
    dropped.mkdir(parents=True)
    (dropped / "audience.csv").write_text("nobody's")
    run(world)
    assert not old.exists()
    assert not (dropped / "audience.csv").exists()


def test_export_refuses_a_broken_an_older_or_another_ledger(world: World) -> None:
    ledger = world.home.ledger_db
    with sqlite3.connect(ledger) as con:
        con.execute("drop trigger if exists events_refuse_update")
        for (name,) in con.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            con.execute(f"drop trigger {name}")
        con.execute("update events set decision = 'grant', purpose = 'identity' where seq = 3")
    with pytest.raises(VerifyError, match="record 3"):
        run(world)
    for path in ledger.parent.glob("ledger.sqlite*"):
        path.unlink()
    with pytest.raises(AnchorError, match="does not hold record"):
        run(world)
    shutil.rmtree(world.home.root.with_name("home.anchor"))
    world.home.update(anchored=False, home_id=None)  # whoever takes the anchor away as well finds the pointer
    with pytest.raises(VerifyError, match="older than the build"):
        run(world)
    assert not list(world.home.outbox.rglob(NAME))


def test_export_refuses_without_a_generation_or_with_another_policy(world: World, tmp_path: Path) -> None:
    run(world)
    before = {path.relative_to(world.home.outbox) for path in world.home.outbox.rglob(NAME)}
    with pytest.raises(AssentError, match="policy has changed"):
        export_generation(world.home, world.policy, world.keys, now=LATER, policy_hash="another")
    assert before and not list(world.home.outbox.rglob(NAME)), "what cannot be rechecked is not deliverable"
    run(world)
    assert {path.relative_to(world.home.outbox) for path in world.home.outbox.rglob(NAME)} == before
    world.home.published.unlink()
    with pytest.raises(AssentError, match="nothing is published"):
        run(world)


def test_no_plain_contact_lies_outside_the_outbox(world: World) -> None:
    run(world)
    needles = [plain.encode() for person in world.people.values() for plain in person.contacts.values()]
    needles += [needle.removeprefix(b"+86") for needle in needles if needle.startswith(b"+86")]
    files = [path for path in world.home.root.rglob("*") if path.is_file()]
    holding = {path for path in files if any(needle in path.read_bytes() for needle in needles)}
    assert holding, "the search finds nothing: it proves nothing"
    assert all(world.home.outbox in path.parents for path in holding)


def test_deliveries_name_who_received_what(world: World) -> None:
    run(world)
    rows = {(row["segment"], row["destination"]): row for row in deliveries.outstanding(world.home)}
    assert rows[SMS, "sms_gateway"]["people"] == 5
    assert rows[SMS, "sms_gateway"]["delivered_at"] == LATER.astimezone(UTC).isoformat()
    with Vault(world.home, world.keys) as vault:
        assert set(vault.get(sorted(deliveries.delivered(world.home, SMS, "sms_gateway"))).values()) == {
            world.people[name].contacts["phone"] for name in EVERYBODY
        }
