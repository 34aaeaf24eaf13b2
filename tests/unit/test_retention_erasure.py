"""Physical erasure: no byte of the person stays, others' rows are what they were, and the search would have told."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from orchestration.backup import sealed
from orchestration.backup.copies import copy_rows
from orchestration.backup.register import note_backup
from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.answers import withdraw as desk
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.errors import AssentError, HomeError
from orchestration.evidence.signing import is_signed
from orchestration.identity.keys import SubjectRegistry
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import lake_files, link_files, manifests
from orchestration.ingestion.quarantine import read_quarantine
from orchestration.retention import respond
from orchestration.retention.control import PREFIX
from orchestration.retention.erasure import Erasure
from orchestration.retention.needles import forms_of_token, forms_of_value
from orchestration.retention.requests import Named, Person, RequestLog
from orchestration.retention.search import Found
from orchestration.retention.verification import verify_erasure
from orchestration.settings import LedgerAt
from tests.erasure_world import (
    ANN_VALUES,
    BATCH,
    CONFIRMED,
    DUE,
    as_far_as_it_goes,
    ask_and_confirm,
    erase,
    erased,
    rebuild,
    scattered_world,
    site_of,
    without_ann,
)
from tests.generation_fixture import World, copy_world
from tests.killed import in_child
from tests.postgres import LOGIN, OWNER, Server
from tests.unit.test_exports import SMS, contacts, phones, quick_checks, run

__all__ = ["quick_checks", "scattered_world", "without_ann"]  # fixtures
ROOT = Path(__file__).parents[2]
OTHERS = ("bob", "cat", "dan", "eve")
KINDS = ("phone", "email", "openid", "cookie", "push")


def verify(world: World, request: str) -> Found:
    return verify_erasure(site_of(world), request, ANN_VALUES, now=DUE)[0]


def rest_of(world: World) -> dict[str, Any]:
    """Everything that is on record of the others."""
    ann = {world.token("ann", kind) for kind in KINDS} if "ann" in world.people else set()
    rows = [row for path in lake_files(world.home, "web") for row in pq.read_table(path).to_pylist()]
    links = [row for path in link_files(world.home) for row in pq.read_table(path).to_pylist()]
    with Vault(world.home, world.keys) as vault:
        points = vault.contact_points_arrow()["token"].to_pylist()
        kept = vault.get([token for token in points if token not in ann])
    return {
        "lake": sorted((r for r in rows if r["subject_token"] not in ann and r["email_token"] not in ann), key=str),
        "links": sorted((r for r in links if not {r["token_a"], r["token_b"]} & ann), key=str),
        "vault": kept,
    }


@pytest.mark.fault("F1")
def test_search_finds_the_person_before_and_nothing_after(world: World) -> None:
    """At least one hit in each place before the physical step, none after it (F1)."""
    request = ask_and_confirm(world)
    before = verify(world, request)
    places = ("lake/web", "lake/links", "keys.sqlite", "vault.sqlite", "quarantine/web", "archive/web", "journal.log",
              "warehouse/identity", ".duckdb", "outbox/", "evidence/contact_points", "evidence/deliveries",
              "ledger")  # fmt: skip
    assert {place: any(place in where for where in before.hits) for place in places} == dict.fromkeys(places, True)
    assert before.is_sound and not before.is_clean
    erase(world)
    new = rebuild(world, without="ann")
    (done,) = erase(new)
    assert (done.is_done, done.request.state) == (True, "physically_erased")
    after = verify(new, request)
    assert after.hits == {}
    assert after.is_clean and after.unreadable == {}


@pytest.mark.fault("F1")
def test_other_people_are_what_they_were(world: World, without_ann: tuple[World, str]) -> None:
    before = rest_of(world)
    new, _ = without_ann
    assert rest_of(new) == before | {"lake": rest_of(new)["lake"]}
    kept = {row["touchpoint_key"]: row for row in rest_of(new)["lake"]}
    assert {row["touchpoint_key"] for row in before["lake"]} == kept.keys() - {"bob-3"}
    assert kept["bob-3"]["email_token"] is None, "a shared row loses the link, not the row"
    run(new, now=DUE)
    lines = {row_no: line for row_no, _, line in _quarantined(new)}
    assert lines[1] is None and lines[2] is not None
    assert [path.name.split(".")[0] for path in new.home.archive.rglob("*.sealed")] == ["cd" * 16]
    with SubjectRegistry(new.home, new.keys) as registry:
        assert all(registry.lookup(new.token(name, "phone")) for name in OTHERS)


def _quarantined(world: World) -> list[tuple[int, str, str | None]]:
    return list(read_quarantine(world.keys, world.home.quarantine / "web" / f"{BATCH}.parquet"))


def test_ledger_still_verifies_and_names_nobody(world: World, without_ann: tuple[World, str]) -> None:
    """The chain proves what was lawful, and who it was about cannot be told."""
    with SubjectRegistry(world.home, world.keys) as registry:
        ref = registry.lookup(world.token("ann", "phone"))
    new, _ = without_ann
    with closing(Ledger.open(new.home.ledger_db, new.keys)) as ledger:
        assert ledger.verify() is None
        (first, *_rest) = rows = ledger.subject_rows([ref or ""])
    assert {row["detail"] for row in rows} == {None}
    assert first["decision"] == "grant", "that it was granted stays on record"
    with SubjectRegistry(new.home, new.keys) as registry:
        assert registry.named([ref or ""]) == {}
    with open_ledger(new.home, new.keys) as (_, registry):  # the anchor still fits
        people = {s.token for e, _ in Anchor(new.home, new.keys).journal.entries()
                  for one in e.restrictions for s in one.subjects.values()}  # fmt: skip
    assert world.token("ann", "phone") not in people


def test_erasure_waits_for_its_time_and_for_a_build(world: World) -> None:
    request = ask_and_confirm(world)
    assert erase(world, now=CONFIRMED) == [], "the time to undo"
    (first,) = erase(world)
    assert (first.is_done, first.pending, first.request.state) == (False, ("generations",), "logically_erased")
    assert "assent run" in first.why
    with SubjectRegistry(world.home, world.keys) as registry, RequestLog(world.home, registry) as log:
        assert log.get(request).reached("physically_erased") is None


@pytest.mark.fault("F12")
def test_recipients_stay_outstanding_in_the_evidence(without_ann: tuple[World, str]) -> None:
    """What a recipient has fetched is not ours to delete: the evidence lists them (F12)."""
    new, request = without_ann
    reached = respond.find(site_of(new), request).reached("physically_erased")
    assert reached is not None
    (sms,) = [one for one in reached.evidence["recipients"] if one["destination"] == "sms_gateway"]
    assert (sms["legal_entity"], sms["segments"], sms["listed"]) == ("Example SMS Co.", [SMS], 1)
    assert reached.evidence["steps"]["outbox"]["suppression_files"] > 0


def test_export_after_an_erasure_is_everybody_else(without_ann: tuple[World, str]) -> None:
    new, _ = without_ann
    new.hear(DUE)
    run(new, now=DUE)
    assert contacts(new) == phones(new, *OTHERS)
    assert not any(form in path.read_bytes() for path in new.home.outbox.rglob("*") if path.is_file()
                   for form in forms_of_value("+8613800138000"))  # fmt: skip


def test_file_that_was_not_taken_in_holds_the_erasure_up(world: World) -> None:
    """Dropping it would take other people's rows with it."""
    waiting = world.home.landing / "refused.jsonl"
    waiting.write_text('{"anonymousId": "cookie-ann"}\n{"anonymousId": "cookie-bob"}\n')
    ask_and_confirm(world)
    (first,) = erase(world)
    assert not first.is_done and "refused.jsonl" in first.why
    waiting.unlink()
    (second,) = erase(world)
    assert second.pending == ("generations",)


STEPS = ("quarantine", "archive", "vault", "ledger", "journal", "lake", "registry", "working", "generations", "outbox")


@pytest.mark.parametrize("skipped", STEPS)
def test_search_finds_what_a_step_leaves_out(world: World, skipped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutants: an erasure that forgets one place is not clean, and the tombstone stays for the next search."""
    monkeypatch.setattr(Erasure, skipped, lambda self: {})
    new, request, is_done = as_far_as_it_goes(world)
    found = verify(new, request)
    assert found.is_sound and not found.is_clean
    assert is_done is (skipped != "registry"), "whom the registry knows is in the next generation, which holds it up"
    assert respond.find(site_of(new), request).has_tombstone


def test_clean_search_ends_the_tombstone_and_is_signed(world: World, without_ann: tuple[World, str]) -> None:
    new, request = without_ann
    found, path = verify_erasure(site_of(new), request, [], now=DUE)
    assert found.is_clean
    assert not respond.find(site_of(new), request).has_tombstone
    public = load_pem_public_key((Anchor(new.home, new.keys).folder / "public.pem").read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    content = json.loads(path.read_bytes())
    assert is_signed(content, public)
    assert not is_signed({**content, "is_clean": not content["is_clean"]}, public)
    assert not any(form in path.read_bytes() for kind in KINDS for form in forms_of_token(world.token("ann", kind)))
    again = verify_erasure(site_of(new), request, [f"phone:e164:{ANN_VALUES[0]}"], now=DUE)[0]
    assert again.is_clean, "later, by the identifiers themselves"


@pytest.mark.parametrize("blind", ["readings", "tables", "sealed", "forms"])
def test_search_that_is_blind_says_so(world: World, blind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: what would not have found the person proves nothing."""
    from orchestration.retention import needles, readings, search

    request = ask_and_confirm(world)
    nothing: Mapping[str, Callable[..., Any]] = {
        "readings": lambda: monkeypatch.setattr(readings, "_inside", lambda *_: iter(())),
        "tables": lambda: monkeypatch.setattr(readings, "_duckdb", lambda *_: iter(())),
        "sealed": lambda: monkeypatch.setattr(search, "sealed_texts", lambda _: iter(())),
        "forms": lambda: monkeypatch.setattr(needles, "ENCODINGS", ("utf-8",)),
    }
    nothing[blind]()
    found = verify(world, request)
    if blind == "forms":  # the control is made of the same forms: what is planted otherwise is missed
        assert "utf-16" in found.control_missed
    if blind == "tables":  # though its bytes hold the value as it is
        assert found.control_missed == ["duckdb"]
    assert not found.is_sound and not found.is_clean


def test_search_leaves_nothing_of_its_control(world: World) -> None:
    request = ask_and_confirm(world)
    verify(world, request)
    left = [
        path
        for root in (world.home.root, world.home.root.with_name("home.anchor"))
        for path in (*root.rglob("control*"), *root.rglob(f"{PREFIX}*"))
    ]
    assert left == []


def test_manifest_counts_what_went(without_ann: tuple[World, str]) -> None:
    new, _ = without_ann
    (manifest,) = [m for m in manifests(new.home, "web") if m.batch == BATCH]
    assert manifest.removed == {"erasure": 2}
    assert manifest.accepted - 2 == sum(pq.read_metadata(path).num_rows for path in lake_files(new.home, "web"))


def test_deleted_entries_leave_no_bytes_in_the_databases(world: World, without_ann: tuple[World, str]) -> None:
    with closing(sqlite3.connect(world.home.vault_db)) as con:
        sealed = [bytes(row[0]) for row in con.execute(
            "select sealed from contacts where token = ?", (world.token("ann", "phone"),))]  # fmt: skip
    assert sealed and sealed[0] in world.home.vault_db.read_bytes()
    new, _ = without_ann
    assert sealed[0] not in new.home.vault_db.read_bytes()


@pytest.fixture(scope="module")
def moments(scattered: World, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many moments there are in one erasure."""
    copied = copy_world(scattered, tmp_path_factory.mktemp("counted"))
    ask_and_confirm(copied)
    counted = in_child(lambda: erase(copied), None)
    assert counted > 100
    return counted


def is_finished_after_a_kill(world: World, moments: int, sample: int) -> None:
    request = ask_and_confirm(world)
    before = rest_of(world)
    assert in_child(lambda: erase(world), random.Random(sample).randint(1, moments - 1)) == -1
    state = respond.find(site_of(world), request).state
    assert state == "logically_erased", "half an erasure is never called one"
    erase(world)
    assert {path.stat().st_mode & 0o077 for path in world.home.root.rglob("*") if path.is_file()} == {0}
    new = rebuild(world, without="ann")
    (done,) = erase(new)
    assert done.request.state == "physically_erased"
    assert verify(new, request).hits == {}
    kept = rest_of(new)
    assert (kept["links"], kept["vault"]) == (before["links"], before["vault"])
    assert [row for row in kept["lake"] if row["touchpoint_key"] != "bob-3"] == before["lake"]


@pytest.mark.fault("A9")
@pytest.mark.parametrize("sample", range(3))
def test_killed_erasure_is_finished_by_another(world: World, moments: int, sample: int) -> None:
    """Killed in the middle of a rewrite: every file is whole, the request stays logically erased (A9)."""
    is_finished_after_a_kill(world, moments, sample)


@pytest.mark.slow
@pytest.mark.fault("A9")
@pytest.mark.parametrize("sample", range(3, 20))
def test_killed_erasure_is_finished_by_another_many_times(world: World, moments: int, sample: int) -> None:
    is_finished_after_a_kill(world, moments, sample)


@pytest.mark.fault("G1")
@pytest.mark.parametrize(
    "step",
    ["lake", "registry", *(pytest.param(one, marks=pytest.mark.slow) for one in ("outbox", "quarantine", "working"))],
)
def test_full_disk_is_an_error_and_no_erasure(world: World, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at a step: it says so, nothing is claimed, and with room it goes on (G1)."""
    request = ask_and_confirm(world)

    def full(_: Erasure) -> dict[str, int]:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Erasure, step, full)
        with pytest.raises(AssentError, match="No space"):
            erase(world)
    assert respond.find(site_of(world), request).state == "logically_erased"
    erase(world)
    new = rebuild(world, without="ann")
    (done,) = erase(new)
    assert done.is_done
    assert verify(new, request).is_clean


@pytest.mark.fault("F3")
def test_erasure_waits_for_a_build_that_runs(world: World) -> None:
    """A build holds the home: nothing is erased under its hands, and the next generation is without the person (F3)."""
    ask_and_confirm(world)
    script = "import sys; from pathlib import Path; from orchestration.home import Home\nwith Home.open(Path(sys.argv[1]), create=False).lock():\n print('held', flush=True); sys.stdin.read()"  # noqa: E501
    with subprocess.Popen([sys.executable, "-c", script, str(world.home.root)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True, cwd=ROOT) as build:  # fmt: skip
        assert build.stdout is not None and build.stdout.readline() == "held\n"
        before = rest_of(world)
        with pytest.raises(HomeError, match="is using this home"):
            erase(world)
        assert rest_of(world) == before
        build.communicate("")
    (first,) = erase(world)
    assert first.pending == ("generations",)


@pytest.mark.fault("F10")
def test_legal_hold_defers_the_erasure_and_blocks_use(world: World) -> None:
    """On the person: nothing goes, for a reason that is told; use stays blocked; without it the erasure goes on."""
    world.tell("ann", kind="email", type="status", fact="legal_hold", state="on", at=CONFIRMED)
    ask_and_confirm(world)
    before = rest_of(world)
    (first,) = erase(world)
    assert "legal hold on the person" in first.why and len(first.pending) == 12
    assert rest_of(world) == before
    with Vault(world.home, world.keys) as vault:
        assert vault.get([world.token("ann", "phone")])
    run(world, now=CONFIRMED)
    assert phones(world, "ann").isdisjoint(contacts(world))
    world.tell("ann", kind="email", type="status", fact="legal_hold", state="off", at=DUE)
    (second,) = erase(world)
    assert second.pending == ("generations",)


@pytest.mark.fault("F10")
def test_source_under_legal_hold_defers_the_erasure(world: World) -> None:
    ask_and_confirm(world)
    held = world.policy.retention.model_copy(update={"legal_holds": ("web",)})
    policy = world.policy.model_copy(update={"retention": held})
    (first,) = erase(replace(world, policy=policy))
    assert "legal hold on web" in first.why
    (second,) = erase(world)
    assert second.pending == ("generations",)


@pytest.mark.fault("F5")
def test_person_who_comes_back_is_readmitted_by_staff_alone(world: World, without_ann: tuple[World, str]) -> None:
    """A new consent does not bring an erased person back; when staff readmit the identifier it is taken again (F5)."""
    new, _ = without_ann
    new = replace(new, people=world.people)
    new.tell("ann", decision="grant", purpose="sms_marketing", method="explicit_click", at=DUE)
    with SubjectRegistry(new.home, new.keys) as registry:
        assert registry.lookup(world.token("ann", "phone")) is None
    assert respond.readmit(site_of(new), world.subject("ann"), now=DUE) == 1
    assert respond.readmit(site_of(new), world.subject("ann"), now=DUE) == 0
    new.tell("ann", decision="grant", purpose="sms_marketing", method="explicit_click", at=DUE)
    with SubjectRegistry(new.home, new.keys) as registry:
        assert registry.lookup(world.token("ann", "phone")) is not None


@pytest.mark.fault("F7")
def test_erasure_ends_when_older_copies_are_gone(world: World, tmp_path: Path) -> None:
    """A backup of before the erasure keeps it from its last state, until it is deleted and its days are over (F7)."""
    copy = tmp_path / "home.sealed"
    copy.write_bytes(sealed.MAGIC + b"of before")
    note_backup(world.home, "home", copy, now=CONFIRMED)
    new, request = erased(world)
    assert verify(new, request).sealed_copies == [str(copy)]
    site, days = site_of(new), timedelta(days=world.policy.retention.datasets.backups)
    over = DUE + days
    assert erase(new, now=over - timedelta(seconds=1)) == []
    assert erase(new, now=over) == [], "the copy still lies where it was written"
    copy.unlink()
    (done,) = erase(new, now=over)
    assert (done.request.id, done.request.state) == (request, "backups_expired")
    assert not respond.find(site, request).is_open
    assert erase(new, now=over) == []


def test_many_are_erased_in_one_pass_and_wait_each_for_their_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place is gone through once for all; a file that names one of them holds up that one alone."""
    passes: list[int] = []
    real = Erasure.lake
    monkeypatch.setattr(Erasure, "lake", lambda self: (passes.append(len(self.people)), real(self))[1])
    requests = {name: ask_and_confirm(world, name) for name in ("ann", "cat", "dan")}
    waiting = world.home.landing / "refused.jsonl"
    waiting.write_text('{"anonymousId": "cookie-dan"}')
    pending = {one.request.id: one.pending for one in erase(world)}
    assert pending[requests["ann"]] == pending[requests["cat"]] == ("generations",)
    assert pending[requests["dan"]][0] == "landing"
    assert passes == [2]
    with SubjectRegistry(world.home, world.keys) as registry:
        known = {name: registry.lookup(world.token(name, "phone")) is not None for name in world.people}
    assert known == {name: name not in ("ann", "cat") for name in world.people}


def test_details_on_postgresql_go_with_a_login_that_may_delete_them(world: World, postgres_server: Server) -> None:
    """The application's own login may not: then nothing is claimed."""
    database = postgres_server.ledger()
    url, owner = postgres_server.url(database, LOGIN), postgres_server.url(database, OWNER)
    with SubjectRegistry(world.home, world.keys) as registry:
        refs = tuple(registry.refs_of([world.token("ann", "phone")]))
    copy_rows(world.home.ledger_db, url)
    subject = Named(*world.subject("ann"))
    people = {"erasure-1": Person(subject, (subject,), (), refs)}
    site = replace(site_of(world), ledger_at=LedgerAt(url))
    with pytest.raises(HomeError, match="rights"):
        Erasure(site, people, DUE).ledger()
    assert Erasure(site, people, DUE, erase_url=owner).ledger() == {"subjects": 1}
    with closing(Ledger.open(url, world.keys)) as ledger:
        assert {row["detail"] for row in ledger.subject_rows(refs)} == {None}
        assert ledger.verify() is None


def test_erased_person_has_nothing_to_withdraw(world: World, without_ann: tuple[World, str]) -> None:
    new, _ = without_ann
    asked = desk.Withdrawal(("shop",), DUE)
    with pytest.raises(AssentError, match="was erased on request"):
        desk.withdraw(new.home, new.policy, new.keys, [world.subject("ann"), world.subject("bob")], asked, now=DUE)
    with open_ledger(new.home, new.keys) as (ledger, registry):
        rows = ledger.subject_rows(registry.refs_of([world.token("bob", "phone")]))
    assert "withdraw" not in {row["decision"] for row in rows}, "all or none"


@pytest.mark.fault("F9")
def test_erasure_that_has_begun_cannot_be_undone(world: World) -> None:
    """Nor when a clock goes back."""
    request = ask_and_confirm(world)
    erase(world)
    with pytest.raises(AssentError, match="has begun"):
        respond.undo(site_of(world), request, now=CONFIRMED)
