"""The run over a source: idempotence, markers, landing, crashes, XML, tables, permissions, and the real till."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import create_engine, text

from orchestration.consent.ledger import open_ledger
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.ingestion import lake, writer
from orchestration.ingestion.archive import read_archived
from orchestration.ingestion.contracts import lake_columns
from orchestration.ingestion.ingest import ingest_all, ingest_source
from orchestration.policy.loader import load_policy
from tests.unit.ingestion_world import FIXTURES, NOW, World, row

RETAIL = Path(__file__).parents[2] / "data" / "examples" / "retail"
JSONL = {"format": "jsonl", "path": "s-{day}.jsonl"}
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures is absent")


def test_lake_has_exactly_the_declared_columns(tmp_path: Path) -> None:
    world = World.make(tmp_path, JSONL)
    world.put("s-2026-01-01.jsonl", [row(1)])
    world.ingest()
    (path,) = lake.lake_files(world.home, "shop_src")
    found = duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)", [str(path)]).fetchall()
    assert [(name, kind) for name, kind, *_ in found] == lake_columns(world.policy, world.source)


def test_same_landing_gives_the_same_rows_in_one_run_or_many(tmp_path: Path) -> None:
    files = {f"s-2026-01-0{day}.jsonl": [row(n) for n in range(day * 3, day * 3 + 5)] for day in (1, 2, 3)}
    one, many = (World.make(tmp_path / name, JSONL) for name in ("one", "many"))
    many.keys = one.keys
    for name, rows in files.items():
        one.put(name, rows)
        many.put(name, rows)
        many.ingest()
    one.ingest()
    assert one.lake() == many.lake()
    assert lake.lake_hash(one.home) == lake.lake_hash(many.home)
    before = lake.lake_hash(one.home)
    assert one.ingest(now=NOW + timedelta(days=1)).redelivered == 3
    assert lake.lake_hash(one.home) == before
    assert lake.source_totals(one.home, "shop_src") == {
        "read": 15, "accepted": 11, "duplicates": 4, "quarantined": 0, "suppressed": 0, "removed": 0,
        "dropped_fields": 0,
    }  # fmt: skip


def test_file_without_its_marker_waits(tmp_path: Path) -> None:
    world = World.make(tmp_path, {**JSONL, "marker": ".done"})
    world.put("s-2026-01-01.jsonl", [row(1)])
    assert world.ingest().counts()["waiting_files"] == 1
    world.put("s-2026-01-01.jsonl.done", "")
    report = world.ingest()
    assert (report.waiting, report.accepted) == (0, 1)
    (manifest,) = lake.manifests(world.home, "shop_src")
    assert (manifest.is_complete, str(manifest.day)) == (True, "2026-01-01")


@pytest.mark.parametrize(
    ("action", "is_ours", "is_left"), [("delete", True, False), ("delete", False, True), ("keep", True, True)]
)
def test_landing_file_goes_only_where_landing_is_ours(
    tmp_path: Path, action: str, is_ours: bool, is_left: bool
) -> None:
    world = World.make(tmp_path, {**JSONL, "marker": ".done"}, after_ingest={"action": action})
    landing = world.landing if is_ours else tmp_path / "theirs"
    landing.mkdir(exist_ok=True)
    for name, content in (("s-2026-01-01.jsonl", json.dumps(row(1)) + "\n"), ("s-2026-01-01.jsonl.done", "")):
        (landing / name).write_text(content, "utf-8")
    assert world.ingest(landing).accepted == 1
    assert bool(list(landing.iterdir())) is is_left


def test_encrypted_copy_opens_with_the_keys(tmp_path: Path) -> None:
    world = World.make(tmp_path, JSONL, after_ingest={"action": "encrypt", "keep_days": 7})
    content = world.put("s-2026-01-01.jsonl", [row(n, note="x" * 500) for n in range(4000)]).read_bytes()
    world.ingest()
    (copy,) = world.home.archive.rglob("*.sealed")
    assert b"".join(read_archived(world.keys, copy)) == content
    assert b"xxxx" not in copy.read_bytes()


def test_crash_before_the_manifest_leaves_nothing_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(tmp_path, JSONL, after_ingest={"action": "delete"})
    world.put("s-2026-01-01.jsonl", [row(1, phone="13812345678"), row(2, event=None)])

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writer, "write_manifests", crash)
        world.ingest()
    assert lake.lake_files(world.home, "shop_src") == []
    assert list(world.home.lake.rglob("*.parquet"))  # leftovers are there
    report = world.ingest()
    assert (report.read, report.accepted, report.duplicates) == (2, 1, 0)
    assert not list(world.landing.iterdir())


def test_sweep_removes_what_no_manifest_lists(tmp_path: Path) -> None:
    world = World.make(tmp_path, JSONL)
    world.put("s-2026-01-01.jsonl", [row(1, phone="13812345678")])
    world.ingest()
    listed = sorted(world.home.lake.rglob("*.parquet"))
    for folder in (listed[0].parent, world.home.lake / "links"):
        (folder / "left.parquet").write_bytes(b"left")
    world.ingest()
    assert sorted(world.home.lake.rglob("*.parquet")) == listed


def test_wechat_messages_cannot_be_ended_or_forged_from_inside(tmp_path: Path) -> None:
    columns = {"account": "FromUserName", "at": "CreateTime", "event": "Event", "note": "Content"}
    world = World.make(
        tmp_path,
        {"format": "xml", "path": "s.xml", "columns": columns, "ignored_columns": ["ToUserName"]},
        event_id=None,
        occurred_at={"field": "at", "format": "epoch_s"},
    )

    def message(content: str, event: str = "<Event><![CDATA[view]]></Event>") -> str:
        sender = "<FromUserName><![CDATA[me]]></FromUserName><CreateTime>1767225600</CreateTime>"
        return f"<xml>\n{sender}{event}<Content>{content}</Content></xml>\n"

    forged = (
        "]]</Content></xml><xml><FromUserName>victim</FromUserName><CreateTime>1</CreateTime><Event>x</Event></xml>"
    )
    world.put(
        "s.xml",
        message(f"<![CDATA[{forged}]]>")
        + message("<![CDATA[a ]> b ]]]]>")
        + "<!DOCTYPE x>" + message("plain")
        + message("&lt;")
        + message("one", "<Event><Deep>view</Deep></Event>")
        + message("two", "<Event>view</Event><Extra>1</Extra>")
        + message("three", "<Event>view</Event><Event>buy</Event>"),
    )  # fmt: skip
    report = world.ingest()
    assert (dict(report.quarantined_by_reason), report.dropped_fields) == ({"malformed": 4}, 1)
    assert world.lake("raw_event, note") == [("view", forged), ("view", "a ]> b ]]"), ("view", "two")]


@needs_fixtures
def test_wechat_fixtures_are_read_and_permissions_reach_the_ledger(tmp_path: Path) -> None:
    policy = load_policy()
    source = next(s for s in policy.sources.sources if s.name == "wechat")
    world = World.make(tmp_path, JSONL)
    (world.landing / "wechat").mkdir()
    messages = "".join(path.read_text("utf-8") for path in sorted((FIXTURES / "wechat_messages").glob("*.xml")))
    (world.landing / "wechat" / "oa-2026-01-01.xml").write_text(messages, "utf-8")
    report = ingest_source(world.home, policy, world.keys, source, world.landing, now=NOW, as_of=NOW)
    assert (report.read, report.accepted) == (6, 6)
    with open_ledger(world.home, world.keys) as (ledger, registry):
        records = ledger.staged(registry, policy)["permissions"].to_pylist()
    assert {(r["channel"], r["state"], r["kind"], r["issuer"]) for r in records} == {
        ("wechat_oa", "open", "openid", "wx-oa-shop"),
        ("wechat_oa", "closed", "openid", "wx-oa-shop"),
    }
    again = ingest_source(world.home, policy, world.keys, source, world.landing, now=NOW, as_of=NOW)
    with open_ledger(world.home, world.keys) as (ledger, _):
        assert (again.read, ledger.head()[0]) == (0, len(records))


def test_unfollow_that_cannot_be_read_closes_the_account_all_the_same(tmp_path: Path) -> None:
    """Bad time, same id with another body: whose contact point closed is plain, so nobody writes to it (H1)."""
    world = World.make(
        tmp_path, JSONL, permissions=[{"raw": "push_off", "channel": "sms", "field": "phone", "state": "closed"}]
    )
    phones = [f"1391234567{n}" for n in range(3)]
    rows = [row(1, event="push_off", phone=phones[0], at="yesterday"), row(2, phone=phones[1])]
    rows += [row(2, event="push_off", phone=phones[1]), row(3, event="push_off", phone="139****5678", at="yesterday")]
    world.put("s-2026-01-01.jsonl", rows)
    assert world.ingest().quarantined == 3
    with open_ledger(world.home, world.keys) as (ledger, registry):
        found = ledger.staged(registry, world.policy)["permissions"].to_pylist()
    tokens = [Tokeniser(world.keys).token("phone", "e164", f"+86{phone}") for phone in phones]
    assert {(r["token"], r["channel"], r["state"]) for r in found} == {
        (tokens[0], "sms", "closed"),
        (tokens[1], "sms", "closed"),
    }


def test_table_is_read_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'their.db'}"
    monkeypatch.setenv("SHOP_URL", url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE visits (id TEXT, event TEXT, at TEXT, account TEXT, amount REAL, note TEXT)")
        )
        for number in (1, 2):
            connection.execute(
                text("INSERT INTO visits VALUES (:id, 'view', '2026-01-01T00:00:00Z', 'a', 1.5, :note)"),
                {"id": f"t{number}", "note": 'two\n"lines"'},
            )
    columns = {name: name for name in ("id", "event", "at", "account", "amount", "note")}
    world = World.make(tmp_path, {"format": "table", "table": "visits", "url_env": "SHOP_URL", "columns": columns})
    assert world.ingest().accepted == 2
    assert world.lake("amount, note") == [(1.5, 'two\n"lines"')] * 2
    assert world.ingest().redelivered == 1
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO visits VALUES ('t3', 'view', '2026-01-02T00:00:00Z', 'b', NULL, NULL)"))
    later = world.ingest()
    assert (later.read, later.accepted, later.duplicates) == (3, 1, 2)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE visits ADD COLUMN id_card TEXT"))
        connection.execute(text("UPDATE visits SET id_card = 'canary-id-card'"))
    new_column = world.ingest()
    assert (new_column.read, new_column.duplicates, new_column.dropped_fields) == (3, 3, 3)
    assert b"canary-id-card" not in world.bytes_at_rest()


@needs_fixtures
def test_retail_days_reconcile_with_the_expected_totals(tmp_path: Path) -> None:
    policy = load_policy(RETAIL)
    world = World.make(tmp_path, JSONL)
    days = FIXTURES / "retail_by_day"
    as_of = datetime(2011, 12, 10, tzinfo=UTC)
    (report,) = ingest_all(world.home, policy, world.keys, days / "by-day", now=NOW, as_of=as_of)
    assert (report.read, report.duplicates, report.quarantined, report.refused) == (29131, 362, 0, [])
    expected = {day["day"]: day["rows"] for day in json.loads((days / "expected_daily_totals.json").read_text("utf-8"))}
    found = lake.manifests(world.home, "till")
    assert {str(m.day): m.read for m in found} == expected
    assert all(m.read == m.accepted + m.duplicates for m in found)
    files = [str(path) for path in lake.lake_files(world.home, "till")]
    query = (
        "SELECT count(*), count(DISTINCT subject_token), count(*) FILTER (raw_event = 'C'), "
        "count(*) FILTER (raw_event = ''), count(*) FILTER (subject_token IS NULL) > 0 FROM read_parquet(?)"
    )
    assert duckdb.execute(query, [files]).fetchall() == [(28769, 692, 417, 28352, True)]
