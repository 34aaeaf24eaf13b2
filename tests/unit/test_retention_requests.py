"""Requests of people: logged with their clock, use stops with the next export, two steps and a time to undo."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestration.cli import root as command
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import DESK
from orchestration.errors import AssentError, HomeError
from orchestration.exports.suppression import suppression_files
from orchestration.identity.keys import SubjectRegistry
from orchestration.retention import respond
from orchestration.retention.requests import RequestLog
from orchestration.retention.respond import Site
from orchestration.settings import Settings
from tests.generation_fixture import AS_OF, LATER, SMS, World
from tests.unit.test_exports import EVERYBODY, contacts, phones, quick_checks, run, world
from tests.unit.test_exports_attacks import edit_generation

__all__ = ["quick_checks", "world"]  # fixtures
SOON = LATER + timedelta(hours=1)


def site_of(world: World) -> Site:
    return Site(world.home, world.policy, world.keys)


def receive(world: World, name: str = "ann", kind: str = "erasure") -> respond.Request:
    return respond.receive(site_of(world), kind, world.subject(name), now=LATER)[0]  # type: ignore[arg-type]


def sms(world: World) -> set[str]:
    run(world, now=SOON)
    return contacts(world, SMS, "sms_gateway")


def ask(world: World, *arguments: str, stdin: str = "") -> Result:
    runner = CliRunner()
    return runner.invoke(command, ["request", *arguments], input=stdin, obj=Settings(home=world.home.root))


@pytest.mark.parametrize("kind", ["erasure", "restriction", "rectification"])
def test_use_stops_with_the_next_export(world: World, kind: str) -> None:
    assert sms(world) == phones(world, *EVERYBODY)
    request = receive(world, kind=kind)
    assert request.state == "use_stopped"
    assert sms(world) == phones(world, *EVERYBODY) - phones(world, "ann")


def test_access_stops_nothing(world: World) -> None:
    assert receive(world, kind="access").state == "received"
    assert sms(world) == phones(world, *EVERYBODY)


@pytest.mark.fault("F9")
def test_erasure_takes_two_steps_and_can_be_undone(world: World) -> None:
    """The wrong person was selected: what is selected is shown, and the tombstone brings it back (F9)."""
    sms(world)
    site, request = site_of(world), receive(world)
    shown, kept = respond.show(site, request.id)
    assert shown.state == "use_stopped"
    assert kept.identifiers == {f"{kind}:{issuer}": 1 for kind, issuer in (
        ("cookie", "shop.example.com"), ("email", "email"), ("openid", "wx-oa-shop"), ("phone", "e164"),
        ("push", "shop.app"))}  # fmt: skip
    assert (kept.contacts, kept.deliveries) == (4, 4)
    confirmed, _ = respond.confirm(site, request.id, now=SOON)
    assert confirmed.state == "logically_erased"
    assert confirmed.undo_until == SOON + timedelta(days=world.policy.retention.requests.undo_days)
    with pytest.raises(AssentError, match="the time to undo it is over"):
        respond.undo(site, request.id, now=confirmed.undo_until)
    assert respond.undo(site, request.id, now=SOON).state == "undone"
    assert sms(world) == phones(world, *EVERYBODY) - phones(world, "ann"), "what lifts waits for the next build"
    statuses = open_statuses(world)
    assert statuses == {("erased", "off"), ("restricted", "off")}


def open_statuses(world: World) -> set[tuple[str, str]]:
    """The last state of each status of ann's phone, by the rule of the decision."""
    with open_ledger(world.home, world.keys) as (ledger, registry):
        rows = ledger.subject_rows([registry.lookup(world.token("ann", "phone")) or ""])
    said = [row for row in rows if row["type"] == "status"]
    last = {row["fact"]: row["state"] for row in sorted(said, key=lambda r: (r["effective_at"], r["state"] == "on"))}
    return set(last.items())


@pytest.mark.fault("F9")
def test_undone_request_leaves_nobody_in_its_tombstone(world: World) -> None:
    site, request = site_of(world), receive(world)
    respond.undo(site, request.id, now=SOON)
    with SubjectRegistry(world.home, world.keys) as registry:
        assert registry.existing_seal_key(request.id) is None
    with sqlite3.connect(world.home.requests_db) as con:
        assert con.execute("select tombstone from requests").fetchall() == [(None,)]


def test_tombstone_opens_with_the_registry_alone(world: World) -> None:
    """Destroying its key is the end of it, in every copy of the log (crypto-erasure)."""
    request = receive(world)
    with SubjectRegistry(world.home, world.keys) as registry, RequestLog(world.home, registry) as log:
        assert world.token("ann", "phone") in log.person(request.id).tokens
        registry.destroy_seal_key(request.id)
        with pytest.raises(AssentError, match="destroyed"):
            log.person(request.id)
    stored = world.home.requests_db.read_bytes()
    assert not any(world.token("ann", kind).encode() in stored for kind in ("phone", "email", "openid"))


@pytest.mark.fault("B14")
def test_shared_identifier_asks_for_nobody_and_is_not_selected(world: World) -> None:
    """What several people share loses the link, not its rows; and nobody is erased by it (B14)."""
    edit_generation(world, "update intermediate.int_identifiers_resolved set is_ambiguous = true, person_key = null "
                           "where kind = 'email'")  # fmt: skip
    with pytest.raises(AssentError, match="several people share"):
        respond.receive(site_of(world), "erasure", world.subject("ann", "email"), now=LATER)
    _, kept = respond.receive(site_of(world), "erasure", world.subject("ann"), now=LATER)
    assert kept.shared == {"email:email": 1}
    assert "email:email" not in kept.identifiers


@pytest.mark.fault("B14")
def test_merged_person_is_selected_whole(world: World) -> None:
    edit_generation(world, "update intermediate.int_identifiers_resolved set group_id = 0 where group_id = 1")
    _, kept = respond.receive(site_of(world), "erasure", world.subject("ann"), now=LATER)
    assert kept.identifiers["phone:e164"] == 2, "two phones are one human's by the links on record"


@pytest.mark.fault("F12")
def test_destinations_get_a_suppression_file(world: World) -> None:
    """And the recipients that are outstanding are named in the evidence of the request (F12)."""
    run(world, now=LATER)
    site, request = site_of(world), receive(world)
    confirmed, _ = respond.confirm(site, request.id, now=SOON)
    reached = confirmed.reached("logically_erased")
    assert reached is not None
    recipients = {one["destination"]: one for one in reached.evidence["recipients"]}
    assert recipients["sms_gateway"]["listed"] == 1
    assert recipients["sms_gateway"]["segments"] == [SMS]
    files = suppression_files(world.home, request.id)
    listed = b"".join(path.read_bytes() for path in files if path.suffix == ".csv")
    assert b"8613800138000" in listed
    run(world, now=SOON)
    assert suppression_files(world.home, request.id) == files, "an export leaves them"
    respond.undo(site, request.id, now=SOON)
    assert suppression_files(world.home, request.id) == []


def test_clock_runs_from_the_request(world: World) -> None:
    request = receive(world)
    assert request.due_at - request.received_at == timedelta(days=world.policy.retention.requests.due_days)
    assert not request.is_overdue(request.due_at)
    assert request.is_overdue(request.due_at + timedelta(seconds=1))


def test_request_of_a_feed_is_taken_once_with_its_own_clock(world: World) -> None:
    world.tell("bob", type="request", fact="erasure", state="received", at=AS_OF - timedelta(days=3), now=LATER)
    (taken,) = respond.take(site_of(world), now=LATER)
    assert (taken.kind, taken.received_at, taken.state) == ("erasure", AS_OF - timedelta(days=3), "use_stopped")
    assert respond.take(site_of(world), now=SOON) == []
    assert sms(world) == phones(world, *EVERYBODY) - phones(world, "bob")


def test_what_is_undone_can_be_asked_again(world: World) -> None:
    site, first = site_of(world), receive(world, kind="restriction")
    respond.undo(site, first.id, now=SOON)
    second = receive(world, kind="restriction")
    assert second.id != first.id
    assert {one.id: one.state for one in respond.log_of(site)} == {first.id: "undone", second.id: "use_stopped"}


@pytest.mark.parametrize("kind", ["erasure", "restriction"])
def test_what_ends_does_not_lift_what_another_request_asked_for(world: World, kind: str) -> None:
    site, first, second = site_of(world), receive(world, kind=kind), receive(world, kind="restriction")
    if kind == "erasure":
        respond.confirm(site, first.id, now=SOON)
    respond.undo(site, first.id, now=SOON)
    lifted = {("erased", "off")} if kind == "erasure" else set()
    assert open_statuses(world) == {("restricted", "on"), *lifted}
    respond.undo(site, second.id, now=SOON)
    assert open_statuses(world) == {("restricted", "off"), *lifted}


@pytest.mark.parametrize("state", ["on", "off"])
def test_what_ends_does_not_lift_what_a_feed_asked_for(world: World, state: str) -> None:
    """Unless the feed has lifted it itself."""
    site, request = site_of(world), receive(world, kind="restriction")
    for number, said in enumerate(dict.fromkeys(["on", state])):
        world.tell("ann", type="status", fact="restricted", state=said, at=LATER + timedelta(minutes=number), now=LATER)
    respond.undo(site, request.id, now=SOON)
    assert open_statuses(world) == {("restricted", state)}
    with open_ledger(world.home, world.keys) as (ledger, registry):
        rows = ledger.subject_rows([registry.lookup(world.token("ann", "phone")) or ""])
    by_desk = {row["state"] for row in rows if row["feed"] == DESK and row["type"] == "status"}
    assert by_desk == ({"on"} if state == "on" else {"on", "off"})


@pytest.mark.fault("E10")
def test_command_takes_the_person_from_stdin_and_never_repeats_it(world: World) -> None:
    """Shell history and logs keep arguments; the value is none, and is in no output or file (E10)."""
    value = world.people["ann"].contacts["phone"]
    done = ask(world, "erase", "--identifier-file", "-", "--json", stdin=f"phone:e164:{value}\n")
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    refused = ask(world, "erase", f"phone:e164:{value}")
    assert refused.exit_code != 0
    unreadable = ask(world, "erase", "--identifier-file", "-", stdin=f"telephone:{value}\n")
    assert unreadable.exit_code != 0
    for output in (done.output, unreadable.output, ask(world, "show", said["id"]).output):
        assert value not in output and value[1:] not in output
    assert ask(world, "list", "--open", "--json").exit_code == 0
    shown = ask(world, "confirm", said["id"])
    assert "Nothing was changed" in shown.output
    assert not any(value[1:].encode() in path.read_bytes() for path in requests_files(world.home.root))


def requests_files(root: Path) -> list[Path]:
    return [path for path in root.glob("requests.sqlite*") if path.is_file()]


def test_request_is_taken_while_a_build_holds_the_home(world: World) -> None:
    """Use stops for everybody who asks, whatever runs; only an erasure waits for it."""
    with ThreadPoolExecutor(1) as other, world.home.lock():
        request = other.submit(receive, world).result()
        assert request.state == "use_stopped"
        with pytest.raises(HomeError, match="is using this home"):
            other.submit(respond.confirm, site_of(world), request.id, now=SOON).result()
    assert sms(world) == phones(world, *EVERYBODY) - phones(world, "ann")
