"""Attempts to get somebody into a file who must not be there: edited files, cut ledgers, wrong clocks, unseen links."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.consent.anchoring.signed_heads import AnchorError
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.errors import AssentError, HomeError, VerifyError
from orchestration.exports.manifest import NAME, PRIVATE
from orchestration.ingestion.lake import Manifest as Batch
from orchestration.ingestion.lake import write_manifests
from orchestration.warehouse.build import warehouse_file
from orchestration.warehouse.gate import file_sha256
from orchestration.warehouse.publish import release_path
from tests.generation_fixture import AS_OF, LATER, SMS, World, make_world
from tests.unit.test_exports import EVERYBODY, contacts, folder, phones, quick_checks, run, world

__all__ = ["quick_checks", "world"]  # fixtures


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def edit_generation(world: World, sql: str) -> Path:
    file = warehouse_file(world.home, world.build.generation)
    with duckdb.connect(str(file)) as con:
        con.execute(sql)
    return file


PERMIT_ALL = "update intermediate.int_activations_decided set reason = null"


def edited_file(world: World) -> None:
    edit_generation(world, PERMIT_ALL)


def edited_file_and_pointer(world: World) -> None:
    edit_json(world.home.published, file_sha256=file_sha256(edit_generation(world, PERMIT_ALL)))


def edited_receipt(world: World) -> None:
    edit_json(release_path(world.home, world.build.generation), file_sha256="0" * 64)


def pointer_ahead_of_a_withdrawal(world: World) -> None:
    world.tell("ann", decision="withdraw")
    with open_ledger(world.home, world.keys) as (ledger, _):
        seq, head = ledger.head()
    edit_json(world.home.published, ledger_seq=seq, ledger_head=head)


def pointer_with_another_t(world: World) -> None:
    edit_json(world.home.published, as_of=(AS_OF - timedelta(days=9)).isoformat())


@pytest.mark.parametrize(
    "attack",
    [edited_file, edited_file_and_pointer, edited_receipt, pointer_ahead_of_a_withdrawal, pointer_with_another_t],
)
def test_a_generation_that_is_not_what_was_released_never_leaves(world: World, attack: Callable[[World], None]) -> None:
    attack(world)
    with pytest.raises(VerifyError, match="not the one that passed its checks"):
        run(world)
    assert not list(world.home.outbox.rglob(NAME))


@pytest.mark.fault("D2")
def test_ledger_that_was_cut_cannot_grow_again_and_is_refused_by_its_anchor_and_by_the_build(world: World) -> None:
    with sqlite3.connect(world.home.ledger_db) as con:
        triggers = con.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
        for name, _ in triggers:
            con.execute(f"drop trigger {name}")
        con.execute("delete from details where seq = ?", [world.build.ledger_seq])
        con.execute("delete from events where seq = ?", [world.build.ledger_seq])
        for _, sql in triggers:
            con.execute(sql)
    with closing(Ledger.open(world.home.ledger_db, world.keys)) as ledger:
        assert ledger.verify() is None, "the chain itself holds"
    for refused in (lambda: run(world), lambda: world.tell("ann", decision="grant", purpose="identity")):
        with pytest.raises(AnchorError, match="does not hold record"):
            refused()
    shutil.rmtree(world.home.root.with_name("home.anchor"))
    world.home.update(anchored=False, home_id=None)  # whoever takes the anchor away as well finds the pointer
    for name in ("ann", "bob"):  # later rows would hide the gap
        world.tell(name, decision="grant", purpose="identity")
    with pytest.raises(VerifyError, match="older than the build"):
        run(world)


def test_lost_registry_is_no_empty_one(world: World) -> None:
    """With a new registry, every refusal on record would look like that of somebody erased."""
    world.tell("ann", decision="withdraw")
    world.home.keys_db.unlink()
    for _ in range(2):
        with pytest.raises(HomeError, match="registry of subjects is lost"):
            run(world)


def test_lost_vault_lets_nobody_out(world: World) -> None:
    world.home.vault_db.unlink()
    assert {result.rows for result in run(world).values()} == {0}


@pytest.mark.parametrize("name", ["audience.csv", "removals.csv", "audience (1).csv"])
def test_file_edited_in_the_outbox_is_replaced(world: World, name: str) -> None:
    run(world)
    place = folder(world, SMS, "sms_gateway")
    with (place / name).open("ab") as file:
        file.write(b"8613800000000,smuggled\r\n")
    assert run(world)[SMS, "sms_gateway"].status == "written"
    assert contacts(world) == phones(world, *EVERYBODY)
    assert {path.name for path in place.iterdir()} == {"audience.csv", "removals.csv", NAME, PRIVATE}


def test_edited_manifest_is_replaced(world: World) -> None:
    run(world)
    edit_json(folder(world, SMS, "sms_gateway") / NAME, expires_at="2099-01-01T00:00:00Z", purpose="partner_sharing")
    assert run(world)[SMS, "sms_gateway"].status == "written"
    assert "partner_sharing" not in (folder(world, SMS, "sms_gateway") / NAME).read_text()


def test_clock_before_t_stops_the_export(world: World) -> None:
    world.home.update(kind="company")
    with pytest.raises(AssentError, match="clock is before"):
        run(world, AS_OF - timedelta(minutes=1))


def test_demo_clock_never_stands_before_t(tmp_path: Path) -> None:
    world = make_world(tmp_path, consent_until=AS_OF)
    assert run(world, AS_OF - timedelta(days=30))[SMS, "sms_gateway"].withheld == {"expired": 5}


def test_feed_heard_in_the_future_is_stale(world: World) -> None:
    """A clock that once stood years ahead must not make a silent feed fresh for years (B8)."""
    world.hear(LATER + timedelta(days=700))
    assert run(world)[SMS, "sms_gateway"].withheld == {"feed_stale": 5}


def link_in_the_lake(world: World, controller: str, one: str, other: str) -> None:
    """A link that was ingested after the build: the run after the ingestion failed."""
    file = world.home.lake / "links" / "l.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    duckdb.execute(
        "copy (select ? as controller, ? as token_a, ? as token_b, false as is_unlink) to '" + str(file) + "'",
        [controller, one, other],
    )
    write_manifests(world.home, [Batch(
        source="web", feed="tag", batch="c" * 32, input_sha256="1" * 64, file="g", day=None, is_complete=True, read=1,
        accepted=1, duplicates=0, quarantined=0, quarantined_by_reason={}, files=[], links_file="links/l.parquet",
        recorded_at=AS_OF,
    )])  # fmt: skip


@pytest.mark.fault("B14")
def test_withdrawal_by_an_identifier_linked_since_the_build_binds(world: World) -> None:
    world.people["new"] = type(world.people["ann"])("new", contacts={"email": "new@example.com"})
    link_in_the_lake(world, "shop", world.token("bob", "cookie"), world.token("new", "email"))
    assert run(world)[SMS, "sms_gateway"].withheld == {}, "a link alone restricts nobody"
    world.tell("new", kind="email", decision="withdraw", purpose="sms_marketing")
    assert run(world)[SMS, "sms_gateway"].withheld == {"withdrawn": 1}
    assert contacts(world) == phones(world, "ann", "cat", "dan", "eve")


def test_link_of_another_controller_carries_no_withdrawal(world: World) -> None:
    world.people["new"] = type(world.people["ann"])("new", contacts={"email": "new@example.com"})
    link_in_the_lake(world, "clinic", world.token("bob", "cookie"), world.token("new", "email"))
    world.tell("new", kind="email", decision="withdraw", purpose="sms_marketing")
    assert run(world)[SMS, "sms_gateway"].withheld == {}


def test_link_to_one_of_a_group_reaches_the_whole_group(world: World) -> None:
    """bob's refusal reaches cat, whom an unseen link joins to him."""
    link_in_the_lake(world, "shop", world.token("bob", "cookie"), world.token("cat", "push"))
    world.tell("bob", kind="email", decision="withdraw", purpose="sms_marketing")
    assert run(world)[SMS, "sms_gateway"].withheld == {"withdrawn": 2}


@pytest.mark.parametrize(
    ("basis", "jurisdiction", "kept_out"),
    [("opt_out", "CN", 1), ("opt_out", "ZZ", 1), ("opt_out", "US-CA", 0), ("consent", "CN", 0)],
)
def test_stricter_jurisdiction_since_the_build_keeps_out(
    template: World, tmp_path: Path, basis: str, jurisdiction: str, kept_out: int
) -> None:
    """Permitted until opted out; now a record shows that the opt-in regime is theirs."""
    world = republished(tmp_path, f"insert into intermediate.int_bases_resolved values (1, 'sms_marketing', '{basis}')")
    world.tell("bob", decision="grant", purpose="personalisation", jurisdiction=jurisdiction)
    assert sum(run(world)[SMS, "sms_gateway"].withheld.values()) == kept_out


def republished(root: Path, sql: str) -> World:
    """A world whose generation says something more, released as such."""
    world = make_world(root)
    sha256 = file_sha256(edit_generation(world, sql))
    edit_json(release_path(world.home, world.build.generation), file_sha256=sha256)
    edit_json(world.home.published, file_sha256=sha256)
    return world


@pytest.mark.parametrize(("until", "kept_out"), [(LATER, {"expired": 1}), (LATER + timedelta(days=9), {})])
def test_grant_that_has_ended_takes_the_place_of_the_former(
    world: World, until: datetime, kept_out: dict[str, int]
) -> None:
    world.tell("cat", decision="grant", purpose="sms_marketing", until=until, at=AS_OF + timedelta(hours=1))
    assert run(world)[SMS, "sms_gateway"].withheld == kept_out


def test_export_waits_for_no_build(world: World) -> None:
    """Another process holds the home: nothing is written beside it."""
    import fcntl

    with world.home.lock_file.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(HomeError, match="is using this home"):
            run(world)


def test_home_open_to_others_is_refused(world: World) -> None:
    world.home.warehouse.chmod(0o755)
    with pytest.raises(HomeError, match="others may read it"):
        type(world.home).open(world.home.root, create=False)
