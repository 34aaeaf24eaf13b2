"""One person's whole answer: every purpose and segment, what decides and what links, and the page to read aloud."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from orchestration.errors import AssentError, VerifyError
from orchestration.evidence import commands_explain, expectations, then
from orchestration.evidence.counts import generation_file
from orchestration.evidence.person import AtController, Person
from orchestration.evidence.person_page import render_person
from orchestration.evidence.sentences import sentences
from orchestration.exports.export import export_generation
from orchestration.policy.vocabulary import vocabulary
from orchestration.settings import IN_HOME, Settings
from tests.generation_fixture import AS_OF, LATER, SMS, World, copy_world


@pytest.fixture
def world(template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(expectations, "check_export", lambda *_: [])
    return copy_world(template, tmp_path)


def asked(world: World, identifier: str, segment: str | None = None) -> then.Asked:
    return then.Asked(world.home, world.policy, world.keys, IN_HOME, identifier, segment, LATER)


def phone(world: World, name: str) -> str:
    return f"phone:e164:{world.people[name].contacts['phone']}"


def explained(world: World, name: str, segment: str | None = None) -> Person:
    return then.explain_published(asked(world, phone(world, name), segment))


def shop(person: Person) -> AtController:
    return next(one for one in person.at if one.controller == "shop")


def rewrite(world: World, sql: str) -> None:
    con = duckdb.connect(str(generation_file(world.home, world.build.generation)))
    con.execute(sql)
    con.close()


def test_every_segment_and_purpose_of_a_person_is_answered(world: World) -> None:
    found = explained(world, "bob")
    policy = world.policy
    for one in found.at:
        assert [row["segment"] for row in one.segments] == [
            s.name for s in policy.segments.segments if s.controller == one.controller
        ]
        assert [row["purpose"] for row in one.purposes] == [
            p.name for p in policy.purposes.purposes if one.controller in p.controllers
        ]
    answers = {row["segment"]: (row["is_member"], row["reason"]) for row in shop(found).segments}
    assert answers[SMS] == (True, None)
    assert answers["wechat_engaged"] == (False, "not_seen")
    purposes = {row["purpose"]: row["reason"] for row in shop(found).purposes}
    assert purposes["sms_marketing"] is None and purposes["personalisation"] == "no_consent"
    assert purposes["service"] == "no_contract"


def test_person_is_explained_by_records_links_touchpoints_and_destinations(world: World) -> None:
    found = shop(explained(world, "bob"))
    (event,) = found.events
    told = ("seq", "decision", "method", "feed", "notice_id", "notice_version", "kind", "by_asked")
    assert [event[name] for name in told] == [
        3, "grant", "explicit_click", "consent_center", "privacy", "2", "phone", True
    ]  # fmt: skip
    assert {row["kind"] for row in found.identifiers if row["is_same_person"]} == set(world.people["bob"].contacts)
    assert [row["kind"] for row in found.identifiers if row["is_asked"]] == ["phone"]
    (link,) = found.links
    assert (link["kind_a"], link["kind_b"], link["method"], link["is_unlinked"]) == ("phone", "email", "login", False)
    assert {row["reason"]: row["touchpoints"] for row in found.touchpoints} == {"permit": 1, "before_consent": 1}
    sms = next(row for row in found.segments if row["segment"] == SMS)
    assert [(d["destination"], d["reason"], d["file"]) for d in sms["destinations"]] == [
        ("sms_gateway", None, None), ("wechat_broadcast", None, None)
    ]  # fmt: skip


def test_withdrawal_since_the_build_and_the_deliveries_before_are_told(world: World) -> None:
    export_generation(world.home, world.policy, world.keys, now=LATER, policy_hash=world.build.policy_hash)
    world.tell("bob", decision="withdraw", purpose="sms_marketing", channel="sms")
    found = shop(explained(world, "bob"))
    assert [(row["type"], row["decision"]) for row in found.since_build] == [("consent_events", "withdraw")]
    sms = next(row for row in found.segments if row["segment"] == SMS)
    (to_sms, to_wechat) = sms["destinations"]
    assert (to_sms["reason"], to_sms["since_build"], to_wechat["reason"]) == ("withdrawn", True, None)
    assert to_sms["file"]["status"] == "written"
    assert {(row["what"], row["destination"]) for row in found.delivered if row["segment"] == SMS} == {
        ("deliveries", "sms_gateway"), ("deliveries", "wechat_broadcast")
    }  # fmt: skip


def test_what_reaches_a_person_from_a_linked_identifier_is_told(world: World) -> None:
    world.tell("bob", kind="cookie", decision="withdraw", purpose="sms_marketing")
    (row,) = shop(explained(world, "bob")).since_build
    assert (row["kind"], row["decision"]) == ("cookie", "withdraw")


def test_nothing_that_is_told_names_the_person(world: World) -> None:
    export_generation(world.home, world.policy, world.keys, now=LATER, policy_hash=world.build.policy_hash)
    world.tell("bob", decision="withdraw", purpose="sms_marketing")
    found, bob = explained(world, "bob"), world.people["bob"]
    text = json.dumps(found.as_json(), default=str) + render_person(world.policy, found)
    secrets = [*bob.contacts.values(), bob.key, *(world.token("bob", kind) for kind in bob.contacts)]
    assert not [secret for secret in secrets if secret in text]


def test_unknown_identifier_is_answered_and_what_came_since_is_counted(world: World) -> None:
    stranger = "phone:e164:+8613700000000"
    found = then.explain_published(asked(world, stranger))
    assert not found.is_known and not found.is_ambiguous
    for one in found.at:
        assert one.status == "unresolved_identity" and one.identifiers == one.since_build == ()
        assert {row["reason"] for row in (*one.segments, *one.purposes)} == {"unresolved_identity"}
    assert "没有该标识的任何数据" in render_person(world.policy, found)


def test_ambiguous_identifier_says_so(world: World) -> None:
    rewrite(
        world,
        "update intermediate.int_identifiers_resolved set person_key = null, is_ambiguous = true where kind = 'phone' "
        "and group_id = 1",
    )
    found = explained(world, "bob")
    assert found.is_ambiguous and shop(found).status == "ambiguous_identity"
    assert shop(found).people_reached == 1, "a refusal on it still binds"
    assert {row["reason"] for row in shop(found).segments} == {"ambiguous_identity"}
    assert "shared by several people" in render_person(world.policy, found)


@pytest.mark.parametrize("reason", ["erased", "restricted", "legal_hold_use_blocked"])
def test_status_of_a_person_explains_every_purpose(world: World, reason: str) -> None:
    rewrite(world, f"update intermediate.int_units set status_reason = '{reason}'; "
                   f"update intermediate.int_permissions_now set reason = '{reason}'")  # fmt: skip
    assert {row["reason"] for row in shop(explained(world, "bob")).purposes} == {reason}


def test_consent_to_another_controller_is_named_as_such(world: World) -> None:
    rewrite(world, "insert into intermediate.int_mismatches select unit_id, 'personalisation' "
                   "from intermediate.int_units where person_key = 'person-bob'")  # fmt: skip
    purposes = {row["purpose"]: row["reason"] for row in shop(explained(world, "bob")).purposes}
    assert (purposes["personalisation"], purposes["email_marketing"]) == ("controller_mismatch", "no_consent")


def test_stage_of_the_relationship_is_told_where_the_generation_knows_stages(world: World) -> None:
    rewrite(world, "insert into intermediate.int_people_staged values ('person-bob', 'shop', 'light', false)")
    found = explained(world, "bob")
    assert shop(found).stage == {"stage": "light", "is_open": False}
    assert "Light registration, but the consent that opened it no longer holds" in render_person(world.policy, found)
    rewrite(world, "drop table intermediate.int_people_staged")
    assert shop(explained(world, "bob")).stage is None


def test_generation_of_another_version_is_refused_in_words(world: World) -> None:
    rewrite(world, "drop table intermediate.int_units")
    with pytest.raises(AssentError, match="another version"):
        explained(world, "bob")


def test_weak_identifiers_own_consent_permits_nothing_of_the_person(world: World) -> None:
    rewrite(world, "update intermediate.int_permissions_now set is_own = true")
    purposes = {row["purpose"]: row for row in shop(explained(world, "bob")).purposes}
    assert not purposes["sms_marketing"]["is_permitted"]
    assert "记录" in render_person(world.policy, explained(world, "bob"))


class Page(HTMLParser):
    """What a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)


def test_page_is_self_contained_speaks_both_languages_and_leaves_no_code_alone(world: World) -> None:
    world.tell("bob", decision="withdraw", purpose="sms_marketing", channel="sms")
    text = render_person(world.policy, explained(world, "bob"))
    parsed = Page()
    parsed.feed(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not [value for name, value in parsed.attributes if name in ("src", "href") or name.startswith("on")]
    assert text.count('class="zh"') == text.count('class="en"') > 50
    spoken = re.sub(r"<[^>]+>|<style>.*?</style>", " ", text, flags=re.DOTALL)
    codes = [w.name for w in vocabulary().reasons] + [s.name for s in world.policy.segments.segments]
    codes += [p.name for p in world.policy.purposes.purposes] + [m.name for m in vocabulary().methods]
    assert not [code for code in codes if "_" in code and re.search(rf"\b{code}\b", spoken)]
    assert "匿名" not in spoken.replace("匿名访客", "")


def test_page_escapes_what_it_shows(world: World) -> None:
    evil = "<script>alert(1)</script>"
    first, *rest = world.policy.segments.segments
    label = first.label.model_copy(update={"en": evil, "zh": f"{evil}{{0}}"})
    segments = world.policy.segments.model_copy(update={"segments": (first.model_copy(update={"label": label}), *rest)})
    parsed = Page()
    parsed.feed(render_person(world.policy.model_copy(update={"segments": segments}), explained(world, "bob")))
    assert "script" not in parsed.tags


def test_every_word_that_a_record_may_hold_can_be_said() -> None:
    words = sentences().words
    assert {m.name for m in vocabulary().methods} | {d.name for d in vocabulary().decisions} <= words.keys()
    assert {"erased", "restricted", "legal_hold", "suppressed"} <= words.keys()


def invoke(world: World, *arguments: str, text: str) -> Result:
    settings = Settings(home=world.home.root)
    return CliRunner().invoke(
        commands_explain.explain,
        [*arguments, "--identifier-file", "-"],
        obj=settings,
        input=text,
        catch_exceptions=False,
    )


def test_command_answers_for_the_whole_person_and_writes_a_private_page(world: World, tmp_path: Path) -> None:
    given = phone(world, "bob")
    told = invoke(world, "--language", "en", text=given).output
    assert "In “Consulted in 7 days but not bought”." in told and world.people["bob"].contacts["phone"] not in told
    assert json.loads(invoke(world, "--json", text=given).stdout)["is_known"] is True
    page = tmp_path / "page.html"
    invoke(world, "--html", str(page), text=given)
    assert page.stat().st_mode & 0o777 == 0o600
    assert "<!doctype html>" in page.read_text(encoding="utf-8")


def test_answer_may_be_of_one_segment_of_a_generation(world: World) -> None:
    generation = world.build.generation
    policy, found = then.explain_generation(asked(world, phone(world, "bob"), SMS), generation, say=lambda _: None)
    assert policy == world.policy and found.basis.source == "kept"
    assert [row["segment"] for one in found.at for row in one.segments] == [SMS]
    with pytest.raises(AssentError, match="no such segment"):
        then.explain_generation(asked(world, phone(world, "bob"), "none"), generation, say=lambda _: None)


@pytest.fixture
def exported(world: World) -> World:
    """Exported at T and two hours; bob withdrew an hour after that; exported again a day later."""
    export_generation(world.home, world.policy, world.keys, now=LATER, policy_hash=world.build.policy_hash)
    world.tell("bob", decision="withdraw", purpose="sms_marketing", at=LATER + timedelta(hours=1))
    export_generation(
        world.home, world.policy, world.keys, now=LATER + timedelta(days=1), policy_hash=world.build.policy_hash
    )
    return world


def at(world: World, when: datetime) -> AtController:
    _, found = then.explain_at(asked(world, phone(world, "bob"), SMS), when, say=lambda _: None)
    assert found.basis.generation == world.build.generation
    return shop(found)


def test_basis_of_an_export_of_then_does_not_know_what_came_later(exported: World) -> None:
    before = at(exported, LATER + timedelta(minutes=1))
    assert before.since_build == ()
    assert [d["reason"] for d in before.segments[0]["destinations"]] == [None, None]
    assert {row["what"] for row in before.delivered} == {"deliveries"}


def test_withdrawal_that_no_export_had_seen_changes_nothing_of_the_file_of_then(exported: World) -> None:
    between = at(exported, LATER + timedelta(hours=5))
    assert [d["reason"] for d in between.segments[0]["destinations"]] == [None, None], "the file that was out held bob"


def test_basis_of_a_later_export_knows_the_withdrawal(exported: World) -> None:
    after = at(exported, LATER + timedelta(days=2))
    assert [d["reason"] for d in after.segments[0]["destinations"]] == ["withdrawn", "withdrawn"]
    assert {row["what"] for row in after.delivered} == {"deliveries", "removals"}


def test_time_before_every_export_has_no_answer(exported: World) -> None:
    with pytest.raises(AssentError, match="no export at or before"):
        at(exported, AS_OF - timedelta(days=9))


def test_export_that_can_no_longer_be_explained_is_said_honestly(exported: World) -> None:
    generation_file(exported.home, exported.build.generation).unlink()
    with pytest.raises(VerifyError, match="can no longer be said"):
        at(exported, LATER + timedelta(days=2))


def test_generation_of_then_is_the_last_whose_exports_were_out(exported: World) -> None:
    now = datetime(2026, 7, 1, tzinfo=UTC)
    found = (exported.build.generation, LATER + timedelta(days=1))
    assert then.exported_at(exported.home, now) == found
    assert then.exported_at(exported.home, AS_OF - timedelta(days=1)) is None
