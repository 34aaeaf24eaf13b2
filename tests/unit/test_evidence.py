"""The summary sums up or refuses; one person's answer; the page escapes, loads nothing and speaks two languages."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest
from click.testing import CliRunner, Result

from orchestration.errors import AssentError, VerifyError
from orchestration.evidence import commands, commands_explain, counts, expectations, report, waterfall
from orchestration.evidence.explain import explain
from orchestration.evidence.labels import Labels
from orchestration.evidence.queries import queries
from orchestration.evidence.shown import Shown
from orchestration.exports import commands as export_commands
from orchestration.exports.export import export_generation
from orchestration.policy.schema import Policy, ShownCounts
from orchestration.settings import Settings
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.duckdb_settings import connect
from tests.generation_fixture import LATER, RECALL, SMS, World, copy_world

CHECKS = [
    CheckResult("dbt", "a", True),
    CheckResult("marts", "b", True),
    CheckResult("marts", "<b>c</b>", False, "warn"),
]


@pytest.fixture
def world(template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(expectations, "check_export", lambda *_: [])
    return copy_world(template, tmp_path)


def exported(world: World) -> dict[str, Any]:
    export_generation(world.home, world.policy, world.keys, now=LATER, policy_hash=world.build.policy_hash)
    summary = counts.summarise(world.home, world.policy, world.build, checks=CHECKS, content_hash="c" * 64)
    counts.save(world.home, summary)
    return summary


def test_summary_has_the_promised_shape_and_sums_up(world: World) -> None:
    world.tell("ann", decision="withdraw", purpose="sms_marketing")
    summary = exported(world)
    assert summary == counts.load(world.home, world.build.generation)
    assert summary["generation"] == world.build.generation
    assert summary["sources"]["web"] | {"quarantined_by_reason": {}} == {
        "read": 912, "accepted": 900, "duplicates": 7, "quarantined": 5, "suppressed": 0, "removed": 0,
        "dropped_fields": 0, "quarantined_by_reason": {}, "refused_files": 0, "redelivered_files": 0,
    }  # fmt: skip
    assert summary["decisions"]["identity"] == {
        "permit": 400, "deny": {"before_consent": 200, "no_consent": 300, "withdrawn": 100}
    }  # fmt: skip
    assert summary["segments"][SMS] == {"people": 5}
    assert (summary["checks"]["passed"], summary["checks"]["failed"]) == (2, 1)
    sms = next(e for e in summary["exports"] if (e["segment"], e["destination"]) == (SMS, "sms_gateway"))
    assert (sms["rows"], sms["withheld"]) == (4, {"withdrawn": 1})
    assert (world.home.root / sms["path"]).is_file()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda s: s["sources"]["web"].update(accepted=899), "source web"),
        (lambda s: s["decisions"]["identity"].update(permit=401), "purpose identity"),
        (lambda s: s["exports"][0].update(rows=s["exports"][0]["rows"] + 1), "export "),
        (lambda s: s["segments"][SMS].update(people=4), f"export {SMS}"),
    ],
)
def test_numbers_that_contradict_one_another_are_refused(world: World, spoil: Any, told: str) -> None:
    summary = exported(world)
    con = connect(world.home, counts.generation_file(world.home, world.build.generation), read_only=True)
    counts.assert_sums(con, summary)
    spoil(summary)
    with pytest.raises(VerifyError, match=told):
        counts.assert_sums(con, summary)
    con.close()


def test_member_is_explained_down_to_event_and_notice(world: World) -> None:
    found = explain(world.home, world.policy, world.keys, SMS, line(world, "bob"), now=LATER)
    assert found.is_member and found.step == "in_segment"
    assert found.admission is not None
    assert (found.admission.seq, found.admission.decision) == (3, "grant")
    assert (found.admission.notice_id, found.admission.notice_version) == ("privacy", "2")
    assert [(a.destination, a.reason) for a in found.activations] == [("sms_gateway", None), ("wechat_broadcast", None)]


def test_withdrawal_since_the_build_is_explained(world: World) -> None:
    world.tell("bob", decision="withdraw", purpose="sms_marketing", channel="sms")
    found = explain(world.home, world.policy, world.keys, SMS, line(world, "bob"), now=LATER)
    assert found.is_member
    assert [(a.reason, a.since_build) for a in found.activations] == [("withdrawn", True), (None, False)]


def line(world: World, name: str, kind: str = "phone") -> str:
    issuer = {"phone": "e164", "email": "email"}[kind]
    return f"{kind}:{issuer}:{world.people[name].contacts[kind]}"


@pytest.mark.parametrize(
    ("segment", "identifier", "step", "reason"),
    [
        (SMS, "phone:e164:+8613700000000", "all", "unresolved_identity"),  # never seen
        (RECALL, "phone:e164:+8613800138000", "all", "unresolved_identity"),  # another controller's person
        ("wechat_engaged", "phone:e164:13800138000", "known", "not_seen"),  # written as people write it
    ],
)
def test_person_outside_is_explained(world: World, segment: str, identifier: str, step: str, reason: str) -> None:
    found = explain(world.home, world.policy, world.keys, segment, identifier, now=LATER)
    assert (found.is_member, found.step, found.reason) == (False, step, reason)
    assert found.admission is None and found.activations == ()


def rewrite(world: World, sql: str) -> None:
    con = duckdb.connect(str(counts.generation_file(world.home, world.build.generation)))
    con.execute(sql)
    con.close()


@pytest.mark.parametrize(
    ("values", "step", "reason"),
    [
        ("is_permitted = false, reason = 'withdrawn'", "known", "withdrawn"),
        ("is_permitted = true, reason = 'absence_unproved'", "permitted", "absence_unproved"),
        ("is_permitted = true, reason = null", "permitted", "not_selected"),
    ],
)
def test_reason_of_the_build_is_told(world: World, values: str, step: str, reason: str) -> None:
    rewrite(
        world, f"update intermediate.int_segment_people set is_member = false, {values} where person_key = 'person-bob'"
    )
    found = explain(world.home, world.policy, world.keys, SMS, line(world, "bob"), now=LATER)
    assert (found.is_member, found.step, found.reason) == (False, step, reason)


def test_shared_identifier_is_explained(world: World) -> None:
    rewrite(
        world,
        "update intermediate.int_identifiers_resolved set person_key = null, is_ambiguous = true where group_id = 1",
    )
    found = explain(world.home, world.policy, world.keys, SMS, line(world, "bob"), now=LATER)
    assert found.reason == "ambiguous_identity"


def test_unknown_segment_and_bad_identifier_are_refused_without_repeating_it(world: World) -> None:
    with pytest.raises(AssentError, match="no such segment"):
        explain(world.home, world.policy, world.keys, "no_such", line(world, "bob"), now=LATER)
    with pytest.raises(AssentError) as refused:
        explain(world.home, world.policy, world.keys, SMS, "phone:e164:138****0000", now=LATER)
    assert "138" not in str(refused.value)


class Page(HTMLParser):
    """What a page would load or run, and its visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)


def page(world: World) -> str:
    exported(world)
    report.save_checks(world.home, world.build.generation, CHECKS)
    return report.write_report(world.home, world.policy, world.build.generation).read_text(encoding="utf-8")


def test_report_is_self_contained_private_and_names_no_person(world: World) -> None:
    text = page(world)
    parsed = Page()
    parsed.feed(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not [value for name, value in parsed.attributes if name in ("src", "href") or name.startswith("on")]
    assert "url(" not in text and "@import" not in text
    for person in world.people.values():
        assert not [plain for plain in person.contacts.values() if plain in text]
        assert person.key not in text
    path = counts.folder(world.home, world.build.generation) / "report.html"
    assert path.stat().st_mode & 0o077 == 0


def test_report_speaks_both_languages_and_has_every_part(world: World) -> None:
    text = page(world)
    assert text.count('class="zh"') == text.count('class="en"') > 100
    for both in (
        ("人群包", "Segments"),
        ("单独同意", "separate consent"),
        ("无同意记录", "No consent"),
        ("检查", "Checks"),
    ):
        assert all(words in text for words in both)
    assert "匿名化" not in text
    assert world.build.policy_hash in text and world.build.generation in text
    for segment in world.policy.segments.segments:
        assert segment.label.zh in text
    assert "@media print" in text


@pytest.mark.fault("E8")
def test_report_and_commands_tell_no_small_count(world: World) -> None:
    """Five people are in the segment, one of them withdrew: neither number, nor the four who are left, is anywhere a
    reader looks. The control: under a policy that tells counts as they are, each is."""
    world.tell("ann", decision="withdraw", purpose="sms_marketing")
    exported(world)

    def told(policy: Policy) -> list[str]:
        text = page_of(world, policy)
        return re.findall(r'class="many">(?:<b>)?−?([^<]+)<', text[text.index("From everybody to the exported") :])

    small = {str(n) for n in range(1, 10)}
    assert not small & set(told(world.policy))
    organisation = world.policy.organisation.model_copy(update={"shown_counts": ShownCounts(minimum=1, rounded_to=1)})
    assert {"5", "4", "1"} <= set(told(world.policy.model_copy(update={"organisation": organisation})))
    found = json.loads(invoke(world, commands.segments, "--json").output)
    numbers = [found[0]["people"], *(v for one in found for e in one["exports"] for v in e["withheld"].values())]
    assert all(number is None or number == 0 or number >= 10 for number in numbers)
    assert [asked["command"] for asked in queries(world.home)] == ["segments"]


def page_of(world: World, policy: Policy) -> str:
    return report.write_report(world.home, policy, world.build.generation).read_text(encoding="utf-8")


def test_report_says_how_people_changed_where_that_is_known(world: World) -> None:
    assert "People recognised" not in page(world)
    names = ("unchanged", "changed", "new", "gone", "joined", "split", "renamed")
    people = {f"people_{name}": 7_000 + 5 * at for at, name in enumerate(names)}
    counts.save(world.home, counts.load(world.home, world.build.generation) | {"people": people})
    text = report.write_report(world.home, world.policy, world.build.generation).read_text(encoding="utf-8")
    assert "People recognised" in text
    assert all(f"7,0{5 * at:02}" in text for at in range(len(names)))


def test_report_escapes_what_it_shows(world: World) -> None:
    """Fault C17: a label, a check and a legal entity with markup in them."""
    evil = "<script>alert(1)</script>"
    first, *rest = world.policy.segments.segments
    label = first.label.model_copy(update={"en": evil, "zh": f'"><img src=x onerror="{evil}"'})
    segments = (first.model_copy(update={"label": label}), *rest)
    places = tuple(d.model_copy(update={"legal_entity": evil}) for d in world.policy.destinations.destinations)
    world.policy = world.policy.model_copy(
        update={
            "segments": world.policy.segments.model_copy(update={"segments": segments}),
            "destinations": world.policy.destinations.model_copy(update={"destinations": places}),
        }
    )
    text = page(world)
    parsed = Page()
    parsed.feed(text)
    assert not {"script", "img"} & set(parsed.tags)
    assert "&lt;script&gt;" in text and "&lt;b&gt;c&lt;/b&gt;" in text


def test_every_code_of_the_report_has_a_label_in_both_languages(world: World) -> None:
    labels = Labels(world.policy)
    for code in ("not_selected", "not_seen", "permit", "withdrawn", "sensitive", "sms", "malformed"):
        text = labels(code)
        assert text.zh != code and text.en != code
    assert labels("unheard_of") == labels("unheard_of").__class__("unheard_of", "unheard_of")


def test_waterfall_bars_hang_between_their_steps() -> None:
    rows = [
        {"step": "all", "reason": None, "people": 100},
        {"step": "known", "reason": "ambiguous_identity", "people": 10},
        {"step": "known", "reason": None, "people": 90},
        {"step": "permitted", "reason": "withdrawn", "people": 10},
        {"step": "permitted", "reason": "no_consent", "people": 30},
        {"step": "permitted", "reason": None, "people": 50},
        {"step": "in_segment", "reason": None, "people": 50},
    ]
    exports = [{"destination": "d", "rows": 45, "withheld": {"no_contact_point": 5}}]
    built = waterfall.build("s", "p", rows, exports, Shown(1, 1))
    bars = [(bar.code, bar.left, bar.width) for bar in built.bars]
    assert bars == [
        ("all", 0, 100), ("ambiguous_identity", 90, 10), ("known", 0, 90), ("no_consent", 60, 30),
        ("withdrawn", 50, 10), ("permitted", 0, 50), ("in_segment", 0, 50),
        ("no_contact_point", 45, 5), ("exported", 0, 45),
    ]  # fmt: skip
    assert (built.people, built.exported) == (50, 45)


def invoke(world: World, command: click.Command, *arguments: str, text: str = "") -> Result:
    settings = Settings(home=world.home.root)
    return CliRunner().invoke(command, [*arguments], obj=settings, input=text, catch_exceptions=False)


def test_commands_read_the_published_generation(world: World) -> None:
    exported(world)
    assert world.build.generation in invoke(world, commands.status).output
    assert '"people": null' in invoke(world, commands.segments, "--json").output, "five are too few to be told"
    assert re.search(rf"{SMS}\s+– ", invoke(world, commands.segments).output)
    given = ["--segment", SMS, "--identifier-file", "-"]
    told = invoke(world, commands_explain.explain, *given, text=line(world, "bob") + "\n").output
    assert told.startswith("IN") and "privacy, version 2" in told
    assert world.people["bob"].contacts["phone"] not in told
    assert (
        '"is_member": true' in invoke(world, commands_explain.explain, *given, "--json", text=line(world, "bob")).output
    )
    with pytest.raises(AssentError, match="one identifier"):
        invoke(world, commands_explain.explain, *given, text="\n")


def test_export_command_exports_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssentError, match="policy has changed"):  # the shipped one, with its own minimum sizes
        invoke(world, export_commands.export, "--json")
    monkeypatch.setattr(export_commands, "load_policy", lambda _: world.policy)
    done = invoke(world, export_commands.export, "--json")
    assert done.exit_code == 0
    assert f'"segment": "{SMS}"' in done.output
