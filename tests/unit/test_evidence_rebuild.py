"""What of the ledger of then a rebuilt generation still has: who was erased is explained, who merely is missing not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestration.consent.ledger import open_ledger
from orchestration.evidence import rebuild
from orchestration.settings import IN_HOME
from orchestration.warehouse.archive import FILES, Inputs
from tests.generation_fixture import AS_OF, World, copy_world


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    return copy_world(template, tmp_path)


def then_of(world: World, **more: int) -> rebuild.Then:
    """The archive of the world's generation; `more`: records of a table that there were beside."""
    with open_ledger(world.home, world.keys) as (ledger, registry):
        staged = ledger.staged(registry, world.policy, until=world.build.ledger_seq)
    inputs = Inputs(
        generation=world.build.generation, as_of=AS_OF, policy_hash="p", ledger_head=world.build.ledger_head,
        ledger_seq=world.build.ledger_seq, lake_hash="l", activity_hash="", keys_id=world.keys.id, code_hash="c",
        project="p", policy_sha256="", vocabulary_sha256="", contact_note=0, contact_points=0, files_sha256="",
        records={name: table.num_rows + more.get(name, 0) for name, table in staged.items()},
    )  # fmt: skip
    return rebuild.Then(inputs, FILES.empty_table(), world.policy, Path("p"), frozenset(), {})


def lost(world: World, then: rebuild.Then) -> dict[str, int]:
    return rebuild._ledger(world.home, then, world.keys, IN_HOME)[1]


def forget(world: World, name: str) -> None:
    """The registry no longer knows who that was, as after an erasure."""
    with closing(sqlite3.connect(world.home.keys_db)) as con:
        con.execute("delete from subjects where token = ?", [world.token(name, "phone")])
        con.commit()


def test_ledger_of_then_is_whole_whatever_came_later(world: World) -> None:
    then = then_of(world)
    world.tell("bob", decision="withdraw", purpose="sms_marketing")
    assert lost(world, then) == {}


def test_records_of_the_erased_are_explained(world: World) -> None:
    then = then_of(world)
    world.tell("bob", type="status", fact="erased", state="on")
    forget(world, "bob")
    assert lost(world, then) == {"erasure": 1}


def test_records_that_name_nobody_without_an_erasure_are_unexplained(world: World) -> None:
    then = then_of(world)
    world.tell("bob", type="status", fact="erased", state="on")
    forget(world, "bob")
    forget(world, "cat")
    assert lost(world, then) == {"erasure": 1, "unexplained": 1}


def test_more_records_than_then_are_unexplained(world: World) -> None:
    assert lost(world, then_of(world, consent_events=-1)) == {"unexplained": 1}
