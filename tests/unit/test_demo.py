"""The demo world: the same bytes for the same seed, every raw shape as its contract declares it, sound personas."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner

from orchestration.demo.commands import demo, last_midnight
from orchestration.demo.personas import ALIASES, PATH, Personas, load_personas, offset_ms
from orchestration.demo.world import WRITERS, WorldReport, make_world
from orchestration.errors import AssentError, HomeError
from orchestration.ingestion.completeness import statement_of
from orchestration.ingestion.landing import Delivery
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Column, ConsentFeed, Feed

AS_OF = datetime(2026, 11, 21, 16, tzinfo=UTC)  # midnight in Shanghai
DAYS = 60
POLICY = load_policy()
FEEDS: dict[str, Feed] = {feed.name: feed for source in POLICY.sources.sources for feed in source.feeds}
CONSENT = next(feed for feed in POLICY.sources.consent_feeds if feed.path)
RECORD_KEYS = {
    "event_id", "type", "subject", "controller", "purpose", "category", "recipient", "channel", "decision", "method",
    "separate", "guardian", "notice", "jurisdiction", "effective_at", "valid_until", "surface", "place", "actor",
    "evidence", "locale", "state", "fact", "minor_until", "status", "other", "unlink",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WorldReport]:
    landing = tmp_path_factory.mktemp("landing")
    return landing, make_world(landing, POLICY, seed=7, people=300, days=DAYS, as_of=AS_OF)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def day_file(landing: Path, feed: Feed | ConsentFeed, day: date) -> Path:
    assert feed.path is not None
    return landing / feed.path.replace("{day}", day.strftime(feed.day_format))


def days() -> list[date]:
    return [date(2026, 11, 21) - timedelta(days=back) for back in reversed(range(DAYS))]


def lines(landing: Path, feed: Feed | ConsentFeed) -> list[str]:
    out: list[str] = []
    for day in days():
        raw = day_file(landing, feed, day).read_bytes()
        if isinstance(feed, Feed) and feed.compression == "gzip":
            raw = gzip.decompress(raw)
        out.extend(raw.decode(feed.encoding).splitlines())
    return out


def key_paths(value: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, inner in value.items():
        found |= key_paths(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}"}
    return found


def declared(feed: Feed) -> set[str]:
    columns = {column.column if isinstance(column, Column) else column for column in feed.columns.values()}
    return columns | set(feed.ignored_columns)


def test_same_seed_gives_same_bytes_in_other_processes(tmp_path: Path) -> None:
    for name, hash_seed in (("one", "1"), ("two", "2")):
        script = (
            "import sys; from datetime import datetime; from pathlib import Path;"
            "from orchestration.demo.world import make_world; from orchestration.policy.loader import load_policy;"
            "make_world(Path(sys.argv[1]), load_policy(), seed=3, people=40, days=5,"
            "as_of=datetime.fromisoformat('2026-11-21T16:00:00+00:00'))"
        )
        command = [sys.executable, "-c", script, str(tmp_path / name)]
        root = Path(__file__).parents[2]
        subprocess.run(command, check=True, cwd=root, env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)})
    assert digest(tmp_path / "one") == digest(tmp_path / "two") != {}


def test_other_seed_gives_another_world(tmp_path: Path) -> None:
    for seed in (3, 4):
        make_world(tmp_path / str(seed), POLICY, seed=seed, people=40, days=3, as_of=AS_OF)
    one, two = digest(tmp_path / "3"), digest(tmp_path / "4")
    assert one.keys() == two.keys()
    assert one["web/tag-2026-11-21.jsonl.gz"] != two["web/tag-2026-11-21.jsonl.gz"]


def test_every_day_has_every_file_and_marker(world: tuple[Path, WorldReport]) -> None:
    landing, report = world
    feeds: list[Feed | ConsentFeed] = [*(FEEDS[name] for name in WRITERS), CONSENT]
    for feed in feeds:
        for day in days():
            path = day_file(landing, feed, day)
            assert path.stat().st_size > 0
            marker = path.with_name(path.name + feed.marker) if feed.marker else None
            if marker is not None:
                stated = statement_of(Delivery(path, path.name, day, marker, True))
                assert stated.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
                raw = path.read_bytes()
                text = gzip.decompress(raw) if path.suffix == ".gz" else raw
                assert stated.rows == text.count(b"\n") - (2 if feed.format == "csv" else 0)  # header and footer
    assert report.files == len(feeds) * DAYS + 1  # and one file delivered twice
    assert report.days == DAYS


def test_one_file_is_delivered_twice(world: tuple[Path, WorldReport]) -> None:
    landing, feed = world[0], FEEDS["events"]
    again = day_file(landing, feed, days()[0] - timedelta(days=1))
    assert again.read_bytes() == day_file(landing, feed, days()[0]).read_bytes()


@pytest.mark.parametrize("name", ["tag", "events", "mini_program"])
def test_json_lines_have_the_declared_keys_only(world: tuple[Path, WorldReport], name: str) -> None:
    seen: set[str] = set()
    broken = 0
    for line in lines(world[0], FEEDS[name]):
        try:
            keys = key_paths(json.loads(line))
        except json.JSONDecodeError:
            broken += 1
            continue
        unknown = keys - declared(FEEDS[name])
        broken += bool(unknown)
        seen |= keys - unknown
    assert 1 <= broken <= 3
    assert seen == declared(FEEDS[name])


def test_messages_parse_as_xml_with_the_declared_tags(world: tuple[Path, WorldReport]) -> None:
    feed, seen, members, broken = FEEDS["official_account"], set(), Counter[bool](), 0
    column = feed.columns["member"]
    assert isinstance(column, Column)
    assert column.extract is not None
    for text in lines(world[0], feed):
        if text.startswith("<!DOCTYPE"):
            broken += 1
            continue
        tags = {child.tag: child.text for child in ElementTree.fromstring(text)}
        broken += bool(tags.keys() - declared(feed))
        seen |= tags.keys() & declared(feed)
        if tags.get("Event") in ("SCAN", "subscribe"):
            members[bool(re.match(column.extract, tags["EventKey"] or ""))] += 1
    assert broken == 2
    assert seen == declared(feed)
    assert min(members.values()) > 0  # scans of a member code, and scans of a poster


@pytest.mark.parametrize("name", ["till", "clinic_till"])
def test_tills_are_gb18030_with_header_and_footer(world: tuple[Path, WorldReport], name: str) -> None:
    feed = FEEDS[name]
    for day in days():
        raw = day_file(world[0], feed, day).read_bytes()
        rows = list(csv.reader(raw.decode("gb18030").splitlines()))
        assert set(rows[0]) == declared(feed)
        assert rows[-1][0] == "合计"
        assert len(rows) >= 3
        assert {len(row) for row in rows} == {len(rows[0])}
    with pytest.raises(UnicodeDecodeError):
        raw.decode("utf-8")


def test_event_names_are_the_policy_s(world: tuple[Path, WorldReport]) -> None:
    for source in POLICY.sources.sources:
        raw_names = {event.raw for event in source.events}
        for feed in source.feeds:
            text = "\n".join(lines(world[0], feed))
            assert any(name in text for name in raw_names), feed.name
    tills = "\n".join(lines(world[0], FEEDS["till"]) + lines(world[0], FEEDS["clinic_till"]))
    assert all(name in tills for name in ("销售", "退货", "咨询", "到诊"))


def test_rows_repeat_and_contradict_each_other(world: tuple[Path, WorldReport]) -> None:
    bodies: dict[str, Counter[str]] = {}
    for line in lines(world[0], FEEDS["tag"]):
        found = re.match(r'\{"messageId":"(w-\d+)"', line)
        if found:
            bodies.setdefault(found.group(1), Counter())[line] += 1
    assert sum(len(body) > 1 for body in bodies.values()) == 3
    assert sum(max(body.values()) > 1 for body in bodies.values()) > 5


def test_some_events_arrive_days_late_and_none_comes_from_the_future(world: tuple[Path, WorldReport]) -> None:
    feed, late = FEEDS["events"], Counter[int]()
    for day in days():
        for line in day_file(world[0], feed, day).read_text(encoding="utf-8").splitlines():
            found = re.search(r'"id":"a-\d+".*"ts":(\d+),', line)
            if found:
                happened = datetime.fromtimestamp(int(found.group(1)) / 1000 + 8 * 3600, UTC).date()
                late[(day - happened).days] += 1
    assert late[0] > 10 * sum(count for days_late, count in late.items() if days_late > 1) > 0
    assert min(late) >= 0
    assert any(days_late > 180 for days_late in late)  # past the retention of behaviour


def test_consent_records_have_the_contract_s_form(world: tuple[Path, WorldReport]) -> None:
    landing, report = world
    kinds, methods, reasons = Counter[str](), set(), Counter[str]()
    found = lines(landing, CONSENT)
    assert len(found) == report.consent_records
    for line in found:
        record = json.loads(line)
        assert record.keys() <= RECORD_KEYS
        assert record["subject"].keys() == {"kind", "issuer", "value"}
        assert record["subject"]["value"]
        assert datetime.fromisoformat(record["effective_at"]).tzinfo is not None
        kinds[record["type"]] += 1
        if record["type"] == "consent":
            methods.add(record["method"])
            reasons[record["decision"]] += 1
    assert kinds.keys() == {"consent", "permission", "contract", "age", "status", "link"}
    assert {"explicit_click", "pre_ticked", "signed_form", "continued_use"} <= methods
    assert {"grant", "deny", "withdraw", "object", "opt_out"} <= reasons.keys()


def test_grants_name_a_version_that_was_published(world: tuple[Path, WorldReport]) -> None:
    published = {
        (notice.id, version.version): version.published_at
        for notice in POLICY.notices.notices
        for version in notice.versions
    }
    early = set()
    for line in lines(world[0], CONSENT):
        record = json.loads(line)
        if "notice" in record:
            shown = published[record["notice"]["id"], record["notice"]["version"]]
            if datetime.fromisoformat(record["effective_at"]) < shown:
                early.add(record["event_id"])
    assert early == {"p-agreed_before_the_notice-2"}


def test_old_grants_are_asked_again_when_the_notice_renews(world: tuple[Path, WorldReport]) -> None:
    versions: dict[str, set[str]] = {}
    for line in lines(world[0], CONSENT):
        record = json.loads(line)
        if record.get("purpose") == "follow_up" and record.get("category") == "sensitive":
            versions.setdefault(record["subject"]["value"], set()).add(record["notice"]["version"])
    assert {tuple(sorted(found)) for found in versions.values()} == {("1",), ("2",), ("1", "2")}


def test_size_grows_with_people(tmp_path: Path) -> None:
    reports = [
        make_world(tmp_path / str(people), POLICY, seed=7, people=people, days=3, as_of=AS_OF) for people in (200, 800)
    ]
    small, large = (sum(report.touchpoints.values()) for report in reports)
    assert 3 < large / small < 5


def test_world_of_one_person_and_part_of_a_day_is_whole(tmp_path: Path) -> None:
    report = make_world(tmp_path, POLICY, seed=1, people=1, days=2, as_of=datetime(2026, 11, 21, 9, 30, tzinfo=UTC))
    assert report.days == 3  # two days that end in the afternoon touch three
    assert all(count >= 3 for count in report.touchpoints.values())


def test_world_before_the_first_notice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssentError, match="first notice"):
        make_world(tmp_path, POLICY, seed=1, people=1, days=60, as_of=datetime(2025, 1, 15, tzinfo=UTC))


def test_personas_are_many_named_once_and_told_in_both_languages() -> None:
    personas = load_personas(POLICY).personas
    assert len(personas) >= 25
    for values in ([p.name for p in personas], [p.who for p in personas], [p.story.zh for p in personas]):
        assert len(set(values)) == len(values)
    assert all(re.search("[\u4e00-\u9fff]", p.story.zh) and p.story.en.isascii() for p in personas)


def test_personas_reach_every_segment_that_has_people_and_most_reasons() -> None:
    personas = load_personas(POLICY).personas
    reached = {name for p in personas for name, answer in p.expect.segments.items() if answer == "in"}
    assert reached == {segment.name for segment in POLICY.segments.segments} - {"dormant_90"}
    reasons = {answer for p in personas for answer in (*p.expect.segments.values(), *p.expect.exports.values())}
    assert reasons >= {
        "before_consent", "withdrawn", "denied", "objected", "expired", "opted_out", "no_consent", "not_explicit",
        "needs_separate_consent", "notice_unknown", "notice_superseded", "minor_without_guardian",
        "controller_mismatch", "transfer_not_allowed", "absence_unproved", "channel_not_allowed", "no_contact_point",
        "permission_missing", "suppressed", "restricted", "legal_hold_use_blocked", "erased",
    }  # fmt: skip


def test_personas_are_in_the_world(world: tuple[Path, WorldReport]) -> None:
    everything = "\n".join(line for name in WRITERS for line in lines(world[0], FEEDS[name]))
    consents = "\n".join(lines(world[0], CONSENT))
    for persona in load_personas(POLICY).personas:
        carried = {alias for touch in persona.touchpoints for alias in touch.by}
        assert all(persona.identifiers[alias] in everything for alias in carried), persona.name
        assert consents.count(f'"p-{persona.name}-') >= bool(persona.consents)


def test_aliases_are_the_identifiers_of_the_policy() -> None:
    known = {(i.kind, i.issuer, i.field) for source in POLICY.sources.sources for i in source.identifiers}
    assert set(ALIASES.values()) == known


def test_offsets_are_read_to_the_second() -> None:
    assert offset_ms("-10d -1s") == -(10 * 86_400 + 1) * 1000
    assert offset_ms("-10d") == -10 * 86_400_000
    assert offset_ms("+1d +2h") == (86_400 + 7200) * 1000


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("expect", "segments"), {"no_such_segment": "in"}, "no such segment"),
        (("expect", "segments"), {"wechat_engaged": "because"}, "no such answer"),
        (("expect", "purposes"), {"astrology": "in"}, "no such purpose"),
        (("expect", "exports"), {"pigeon": "in"}, "no such destination"),
        (("expect", "exports"), {}, "says nothing of"),
        (("identifiers", "phone"), "+8613800138000", "form kept for personas"),
        (("touchpoints", 0, "by"), ["unionid"], "no value for unionid"),
        (("surprise",), 1, "Extra inputs"),
    ],
)
def test_personas_with_a_mistake_are_refused(tmp_path: Path, path: tuple[Any, ...], value: Any, message: str) -> None:
    tree = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    tree["personas"] = tree["personas"][:1]
    place: Any = tree["personas"][0]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    copy = tmp_path / "personas.yaml"
    copy.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    with pytest.raises(AssentError, match=message) as caught:
        load_personas(POLICY, copy)
    assert "13800138000" not in str(caught.value)


def test_personas_schema_is_published() -> None:
    assert "personas" in Personas.model_json_schema()["properties"]


def test_command_makes_a_demo_home(tmp_path: Path) -> None:
    arguments = ["--home", str(tmp_path / "home"), "--people", "20", "--days", "2", "--seed", "5", "--json"]
    result = CliRunner().invoke(demo, [*arguments, "--as-of", "2026-11-22T00:00:00+08:00"], catch_exceptions=False)
    found = json.loads(result.output)
    assert (found["seed"], found["people"], found["as_of"]) == (5, 20, "2026-11-21T16:00:00+00:00")
    home = json.loads((tmp_path / "home" / "home.json").read_text())
    assert (home["kind"], home["seed"]) == ("demo", 5)
    assert (tmp_path / "home" / "landing" / "web" / "tag-2026-11-21.jsonl.gz").is_file()


def test_command_again_is_the_same_world_and_another_world_is_refused(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path / "home")]
    first = ["--people", "20", "--days", "2", "--as-of", "2026-11-22T00:00:00+08:00"]
    CliRunner().invoke(demo, [*home, *first], catch_exceptions=False)
    before = digest(tmp_path / "home")
    CliRunner().invoke(demo, home, catch_exceptions=False)
    assert digest(tmp_path / "home") == before
    for other in (["--people", "21"], ["--seed", "8"], ["--as-of", "2026-11-23T00:00:00+08:00"]):
        result = CliRunner().invoke(demo, [*home, *other])
        assert isinstance(result.exception, HomeError), other
    assert digest(tmp_path / "home") == before


def test_command_refuses_a_time_without_offset(tmp_path: Path) -> None:
    result = CliRunner().invoke(demo, ["--landing", str(tmp_path), "--as-of", "2026-11-22T00:00:00"])
    assert isinstance(result.exception, AssentError)
    assert not list(tmp_path.iterdir())


def test_last_midnight_is_that_of_the_zone() -> None:
    assert last_midnight(datetime(2026, 11, 22, 15, 59, tzinfo=UTC), "Asia/Shanghai") == AS_OF
    assert last_midnight(AS_OF, "Asia/Shanghai") == AS_OF
