"""Two generations compared: who joined, who left, and by which reason each."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from orchestration.errors import AssentError
from orchestration.evidence import commands_diff
from orchestration.evidence.counts import generation_file
from orchestration.evidence.diff import SegmentDifference, diff
from orchestration.evidence.queries import queries
from orchestration.settings import Settings
from tests.generation_fixture import RECALL, SMS, World, copy_world

SEGMENT_PEOPLE = "intermediate.int_segment_people"


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    return copy_world(template, tmp_path)


def key(world: World, name: str) -> str:
    return world.people[name].audience_key("sms_marketing")


def out(world: World, name: str, reason: str | None) -> str:
    """SQL after which a person is not in the segment, for this reason."""
    said = "null" if reason is None else f"'{reason}'"
    return (
        f"delete from marts.{SMS} where audience_key = '{key(world, name)}'; "
        f"update {SEGMENT_PEOPLE} set is_member = false, reason = {said}, is_permitted = {reason is None} "
        f"where segment = '{SMS}' and person_key = 'person-{name}'; "
        f"delete from intermediate.int_activations_decided where segment = '{SMS}' and person_key = 'person-{name}'; "
    )


def two(world: World, then: str = "select 1", now: str = "select 1") -> tuple[Path, Path]:
    """The generation twice, each after some SQL: then as its own file, now as another's."""
    file = generation_file(world.home, world.build.generation)
    later = world.home.warehouse / "later.duckdb"
    shutil.copyfile(file, later)
    for path, sql in ((file, then), (later, now)):
        con = duckdb.connect(str(path))
        con.execute(sql)
        con.close()
    return file, later


def compared(world: World, then: str = "select 1", now: str = "select 1") -> SegmentDifference:
    found, _ = diff(world.home, *two(world, then, now), segment=SMS)
    (segment,) = found.segments
    return segment


def test_equal_generations_do_not_differ(world: World) -> None:
    found, rows = diff(world.home, *two(world), tokens=True)
    assert found.same_policy and rows == []
    assert {s.segment for s in found.segments} == {s.name for s in world.policy.segments.segments}
    assert all(not s.joined and not s.left and s.people_then == s.people_now for s in found.segments)


@pytest.mark.parametrize(
    ("reason", "told"), [("withdrawn", "withdrawn"), ("expired", "expired"), ("past_retention", "past_retention"),
                         ("absence_unproved", "absence_unproved"), (None, "not_selected")],
)  # fmt: skip
def test_leaver_is_told_by_what_the_later_generation_says(world: World, reason: str | None, told: str) -> None:
    found = compared(world, now=out(world, "bob", reason))
    assert (found.people_then, found.people_now) == (5, 4)
    assert (found.left, found.joined) == ({told: 1}, {})


def test_joiner_is_told_by_what_the_earlier_generation_said(world: World) -> None:
    found = compared(world, then=out(world, "bob", "no_consent") + out(world, "cat", None))
    assert (found.joined, found.left) == ({"no_consent": 1, "not_selected": 1}, {})


def forget(name: str) -> str:
    return (
        f"delete from {SEGMENT_PEOPLE} where person_key = 'person-{name}'; "
        f"delete from intermediate.int_audience_keys where person_key = 'person-{name}'; "
    )


def test_leaver_without_a_touchpoint_in_the_period_is_not_seen(world: World) -> None:
    gone = f"delete from {SEGMENT_PEOPLE} where person_key = 'person-bob'"
    assert compared(world, now=out(world, "bob", None) + gone).left == {"not_seen": 1}


def test_leaver_whom_nothing_knows_any_more_is_said_so(world: World) -> None:
    gone = "delete from intermediate.int_identifiers_resolved where person_key = 'person-bob'"
    assert compared(world, now=out(world, "bob", None) + forget("bob") + gone).left == {"no_longer_known": 1}


def test_joiner_whom_nothing_knew_before_is_new(world: World) -> None:
    gone = "delete from intermediate.int_identifiers_resolved where person_key = 'person-bob'"
    assert compared(world, then=out(world, "bob", None) + forget("bob") + gone).joined == {"newly_known": 1}


def test_leaver_whose_identifiers_are_shared_now_is_ambiguous(world: World) -> None:
    shared = (
        "update intermediate.int_identifiers_resolved set is_ambiguous = true, person_key = null "
        "where person_key = 'person-bob'"
    )
    assert compared(world, now=out(world, "bob", None) + forget("bob") + shared).left == {"ambiguous_identity": 1}


def test_person_under_another_key_has_not_gone(world: World) -> None:
    """Bob and cat became one person: bob's key is gone, but he is in as cat."""
    joined = (
        "update intermediate.int_identifiers_resolved set person_key = 'person-cat' where person_key = 'person-bob'"
    )
    found = compared(world, now=out(world, "bob", None) + forget("bob") + joined)
    assert (found.left, found.rekeyed) == ({"identity_change": 1}, 1)


def test_destinations_say_who_is_kept_back_and_who_left(world: World) -> None:
    kept = "update intermediate.int_activations_decided set reason = 'frequency_capped' where person_key = 'person-dan'"
    found = compared(world, now=out(world, "bob", "withdrawn") + kept)
    (sms, wechat) = found.destinations
    assert (sms.destination, sms.people_then, sms.people_now) == ("sms_gateway", 5, 3)
    assert (sms.left_segment, sms.kept_back) == (1, {"frequency_capped": 1})
    assert (wechat.people_then, wechat.left_segment) == (4, 1), "eve never was reachable there"


def test_segment_that_only_one_generation_has_is_named(world: World) -> None:
    found, _ = diff(world.home, *two(world, now=f"delete from policy.segments where segment = '{RECALL}'"))
    assert (found.only_then, found.only_now) == ((RECALL,), ())
    assert RECALL not in {s.segment for s in found.segments}


def test_generation_of_another_version_is_refused_in_words(world: World) -> None:
    with pytest.raises(AssentError, match="another version"):
        diff(world.home, *two(world, now="drop table intermediate.int_audience_keys"))


def test_unknown_segment_is_refused(world: World) -> None:
    with pytest.raises(AssentError, match="no such segment"):
        diff(world.home, *two(world), segment="none")


def test_command_prints_counts_and_writes_keys_only_when_asked(world: World, tmp_path: Path) -> None:
    two(world, now=out(world, "bob", "withdrawn"))
    settings, target = Settings(home=world.home.root), tmp_path / "keys.csv"

    def invoke(*arguments: str) -> str:
        return str(CliRunner().invoke(commands_diff.diff, arguments, obj=settings, catch_exceptions=False).stdout)

    told = invoke(world.build.generation, "later")
    assert "- – left: withdrawn (Withdrawn / 已撤回) –" in told and key(world, "bob") not in told
    assert '"withdrawn": null' in invoke(world.build.generation, "later", "--json", "--tokens", str(target))
    assert [(asked["command"], asked["generations"]) for asked in queries(world.home)] == [
        ("diff", [world.build.generation, "later"])
    ] * 2  # fmt: skip
    assert target.read_text() == f"segment,audience_key,change,reason\n{SMS},{key(world, 'bob')},left,withdrawn\n"
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AssentError, match="no longer kept"):
        invoke(world.build.generation, "f" * 20)
    with pytest.raises(AssentError, match="twice"):
        invoke("later", "later")
