"""Canaries in a good and in a bad row of every source and of the consent feed are found nowhere but in the vault,
encrypted, and in the contact columns that policy declares: after a good run, and after a failed one. In the good run's
landing are bad files too: each is refused or quarantined by itself, the rest goes on, and the exit code says so."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import pickle
import shutil
import socketserver
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.errors import ExitCode
from orchestration.policy.loader import SHIPPED
from orchestration.settings import QUIET, child_environment
from tests import bad_files
from tests.homes import lend_project
from tests.leaks import forms, plant_everywhere, scan
from tests.markers import mark
from tests.pipeline.conftest import AS_OF, Finished, assent, make_demo

EMAIL, PHONE, OPENID = "canary_7f3a@example.invalid", "13977700423", "oCanary7f3aKq9_openid"
NAME, BIRTHDAY = "金丝雀七三", "1907-03-07"
PASSPHRASE = "correct horse battery"
NEEDLES = {value: forms(value) for value in (EMAIL, PHONE, OPENID, NAME, BIRTHDAY)}
LAST, NEXT = "2026-11-21", "2026-11-22"  # the world's last day, and one more for the run that fails
REFUSED = {f"landing/web/tag-{NEXT}.jsonl.gz", f"landing/in_store/till-{NEXT.replace('-', '')}.csv"}
Row = dict[str, Any]


def append(path: Path, rows: list[Row | str], *, marker: str = "") -> None:
    text = "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    before = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" and path.exists() else b""
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(before + text.encode(), mtime=0))
    else:
        with path.open("ab") as file:
            file.write(text.encode())
    if marker:
        mark(path, marker)


def plant_online(landing: Path, day: str) -> None:
    at = datetime.fromisoformat(f"{day}T00:10:00+08:00")
    seconds, millis = int(at.timestamp()), int(at.timestamp() * 1000)
    person = {"email": EMAIL}
    good: Row = {"messageId": f"canary-{day}", "event": "page_viewed", "timestamp": at.isoformat(), "userId": OPENID,
                 "anonymousId": f"ck.{PHONE}",
                 "context": {"traits": person, "page": {"path": f"/?q={NAME}"}}}  # fmt: skip
    named = {**good, "messageId": f"canary-{day}-4", "event": f"{NAME} {PHONE}"}  # good, but policy knows no such event
    bad: list[Row | str] = [
        {**good, "messageId": f"canary-{day}-2", "timestamp": EMAIL},
        {**good, "messageId": f"canary-{day}-3", PHONE: NAME},  # an unknown column, named like a phone
        {**good, "context": {"traits": {"email": f"x{EMAIL}"}}},  # the id of the good row, another body
        json.dumps({**good, "messageId": BIRTHDAY})[:-9],  # cut off
    ]
    append(landing / "web" / f"tag-{day}.jsonl.gz", [good, named, *bad], marker=".done")
    app: Row = {"id": f"canary-{day}", "name": "profile", "ts": str(millis), "user": OPENID, "user_phone": PHONE,
                "device": {"id": f"dv.{EMAIL}", "push_token": f"pt.{OPENID}"},
                "params": {"birthday": BIRTHDAY}}  # fmt: skip
    bad = [
        {**app, "id": f"canary-{day}-2", "ts": EMAIL},
        {**app, "id": f"canary-{day}-3", "params": {"birthday": NAME}},
    ]
    append(landing / "app" / f"events-{day}.jsonl", [app, *bad])
    mini: Row = {"appid": "wx-mp-shop", "openid": OPENID, "event": "launch", "ts": seconds, "phone": PHONE}
    append(landing / "wechat" / f"mp-{day}.jsonl", [mini, {**mini, "ts": EMAIL}, {**mini, "nickname": NAME}])
    append(landing / "wechat" / f"oa-{day}.xml", [
        *(message(OPENID, seconds + n, event) for n, event in enumerate(("subscribe", "CLICK", "VIEW", EMAIL))),
        message(OPENID, seconds + 4, f"CLICK]]></Event><Content><![CDATA[{NAME} {PHONE}"),
        message(OPENID, EMAIL, "CLICK"), message(f"{OPENID}\u202e{PHONE}", seconds, "CLICK"),
        f"<xml><FromUserName>{OPENID}</FromUserName><{PHONE}>{NAME}</xml>",
    ])  # fmt: skip


def message(openid: str, at: int | str, event: str) -> str:
    return (
        f"<xml><ToUserName><![CDATA[gh_yueji_shop]]></ToUserName><FromUserName><![CDATA[{openid}]]></FromUserName>"
        f"<CreateTime>{at}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[{event}]]></Event></xml>"
    )


def plant_tills(landing: Path, day: str) -> None:
    """Both tills, good and bad rows before the footer; a phone as a spreadsheet leaves it is a good row."""
    for till, store in (("till", "store-xuhui"), ("clinic", "clinic-jingan")):
        path = landing / "in_store" / f"{till}-{day.replace('-', '')}.csv"
        header, *rest = path.read_bytes().decode("gb18030").splitlines(keepends=True)
        row = {"小票行号": f"canary-{till}-{day}", "类型": "咨询", "时间": f"{day.replace('-', '/')} 00:00:00"}
        row |= {"手机号": PHONE, "姓名": NAME, "生日": BIRTHDAY, "项目": "sku-001", "金额": "0", "门店": store}
        rows = [row, {**row, "小票行号": f"{row['小票行号']}-2", "手机号": f"+86 {PHONE}.0"}]
        rows += [{**row, "小票行号": EMAIL, "金额": EMAIL}, {**row, "生日": f"{BIRTHDAY} {NAME}"}]
        lines = [",".join(values.get(name, "") for name in header.strip().split(",")) + "\n" for values in rows]
        path.write_bytes("".join([header, *lines, *rest]).encode("gb18030"))
        mark(path, ".ok")


def plant_consent(landing: Path, day: str) -> None:
    """Grants that make the person exportable; then a bad record, a broken line, and one id with two bodies."""
    subjects = {"email": ("email", EMAIL), "phone": ("e164", f"+86{PHONE}"), "openid": ("wx-oa-shop", OPENID)}
    long_ago = (datetime.fromisoformat(AS_OF) - timedelta(days=100)).isoformat()
    grant: Row = {"type": "consent", "controller": "shop", "decision": "grant", "method": "explicit_click"}
    grant |= {"notice": {"id": "privacy", "version": "2", "language": "zh-CN"}, "effective_at": long_ago}
    grant |= {"actor": NAME, "place": EMAIL}
    rows: list[Row | str] = [
        {**grant, "event_id": f"{value}-{purpose}-{day}", "purpose": purpose, "evidence": f"{BIRTHDAY} {value}",
         "subject": {"kind": kind, "issuer": issuer, "value": value}}
        for kind, (issuer, value) in subjects.items()
        for purpose in ("identity", "sms_marketing", "email_marketing")
    ]  # fmt: skip
    subject = {"kind": "email", "issuer": "email", "value": f"x{EMAIL}"}  # others than the person who is exported
    refuse = {**grant, "subject": subject, "purpose": "personalisation", "decision": "withdraw"}
    rows += [
        {**refuse, "event_id": f"{PHONE}-bad", "effective_at": NAME},
        {**refuse, "event_id": f"{PHONE}-unknown", EMAIL: PHONE},
        {**refuse, "event_id": EMAIL, "channel": "email"},
        {**refuse, "event_id": EMAIL, "channel": "sms"},
        json.dumps({**refuse, "event_id": f"{PHONE}-cut"}, ensure_ascii=False)[:-3],
    ]
    append(landing / "consent" / f"events-{day}.jsonl", rows, marker=".done")


def broken_policy(folder: Path) -> Path:
    """The shipped policy with one model that fails on a row: DuckDB's error quotes a value."""
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "vocabulary.yaml"))
    model = folder / "models" / "marts" / "marketing" / "wechat_engaged.sql"
    model.parent.mkdir(parents=True)
    model.write_text(
        "with touchpoints as (select * from {{ segment_touchpoints() }}),\n"
        "people as (select person_key from touchpoints group by person_key having sum(cast(event as bigint)) > 0)\n"
        "select * from {{ segment_members('people') }}\n"
    )
    return folder


def exported(home: Path) -> set[str]:
    """The values of the contact columns in the outbox, which are then blanked: policy declares them."""
    found: set[str] = set()
    for path in (home / "outbox").rglob("*.csv"):
        code = "gb18030" if "front_desk" in path.parts else "utf-8-sig"
        with path.open(encoding=code, newline="") as file:
            rows = list(csv.DictReader(file))
        found |= {row.pop("contact") for row in rows if "contact" in row}
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return found


@contextlib.contextmanager
def listening() -> Iterator[tuple[int, list[str]]]:
    """A proxy that notes whom anybody wanted to call, and lets nobody through (E9): its port, and the first lines."""
    heard: list[str] = []

    class Hang(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard.append(self.request.recv(1000).decode("latin-1").split("\r\n")[0])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hang) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], heard
        server.shutdown()


def calling(port: int) -> dict[str, str]:
    """Variables that lead every call of a library to the proxy, lineage events among them (E6)."""
    proxy = f"http://127.0.0.1:{port}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "OPENLINEAGE_URL")
    return {**dict.fromkeys(names, proxy), "NO_PROXY": "", "no_proxy": ""}


def leave_leaks(home: Path) -> set[str]:
    """The positive control in a home as builds leave it: one value in each kind of place, in files of these places
    where that is possible. Returns the files."""
    generation = next((home / "warehouse").glob("*.duckdb"))
    with duckdb.connect(str(generation)) as con:
        con.execute("create table governance.leak as select ? as example", [PHONE])
    runs = next((home / "dagster").rglob("*.db"))
    with contextlib.closing(sqlite3.connect(runs)) as con:
        con.execute("create table leak (v text)")
        con.execute("insert into leak values (?)", [EMAIL])
        con.commit()
    lake_file = next((home / "lake").rglob("day=*/*.parquet"))
    pq.write_table(pa.table({"item": [NAME]}), lake_file.with_name("leak.parquet"), compression="zstd")
    places = [generation, runs, lake_file.with_name("leak.parquet")]
    for folder, name in (
        ("policies", "target/manifest.json"), ("tmp", "dbt/logs/dbt.log"), ("tmp", "duckdb/spill.tmp"),
        ("evidence", "report.html"), ("evidence", "summary.json"), ("evidence", "openlineage.jsonl"),
        ("policies", "lineage.json"), ("dagster", "storage/result"),
        ("outbox", "audience.csv"), ("quarantine", "lines.parquet"), ("warehouse", "building/x.duckdb.wal"),
    ):  # fmt: skip
        path = home / folder / "leak" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x{OPENID}x")
        places.append(path)
    return {path.relative_to(home).as_posix() for path in places}


def pickles(home: Path) -> list[Path]:
    """Files of Dagster's storage that begin as a pickle of protocol 2 to 5 does (E2)."""
    files = [path for path in (home / "dagster").rglob("*") if path.is_file()]
    return [path for path in files if path.read_bytes()[:2] in {b"\x80" + bytes([n]) for n in range(2, 6)}]


# Several commands, one after the other in one process: most of the seconds of each would go into starting Python.
SEVERAL = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from orchestration.cli import main

told = []
for arguments, stdin in json.load(sys.stdin):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    sys.argv, sys.stdin = ["assent", *arguments], io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            told.append((ended.code, *(stream.buffer.getvalue().decode() for stream in (out, err))))
json.dump(told, sys.stdout)
"""


@dataclass(frozen=True)
class Watched:
    """A home with canaries and bad files in landing, what its first run said, and who was called meanwhile."""

    home: Path
    port: int
    heard: list[str]

    @property
    def said(self) -> Path:
        """What commands said, where the scan looks; their temp dir lies beside it."""
        return self.home.with_name("said")

    @property
    def tmp(self) -> Path:
        return self.home.with_name("tmp")

    @property
    def variables(self) -> dict[str, str]:
        return {"TMPDIR": str(self.tmp), "HOME": str(self.tmp), **calling(self.port)}

    def run(self, *arguments: str) -> Finished:
        done = assent(self.home, *arguments, **self.variables)
        self._keep(done.out + done.err)
        return done

    def run_all(self, *commands: tuple[Sequence[str], str]) -> list[Finished]:
        """Commands with what they read from stdin."""
        environment = child_environment({**QUIET, "ASSENT_HOME": str(self.home), **self.variables})
        done = subprocess.run([sys.executable, "-c", SEVERAL], input=json.dumps(commands), capture_output=True,
                              text=True, env=environment, check=True)  # fmt: skip
        told = [Finished(code or 0, out, err) for code, out, err in json.loads(done.stdout)]
        assert len(told) == len(commands)
        self._keep(done.stderr + "".join(one.out + one.err for one in told))
        return told

    def _keep(self, said: str) -> None:
        (self.said / f"{len(list(self.said.iterdir()))}.txt").write_text(said)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Finished]]:
    home = tmp_path_factory.mktemp("canary") / "home"
    lend_project(tmp_path_factory, make_demo(home, people=200, days=30))
    for plant in (plant_online, plant_tills, plant_consent):
        plant(home / "landing", LAST)
    bad_files.plant_bad_files(home / "landing")
    with listening() as (port, heard):
        watched = Watched(home, port, heard)
        watched.said.mkdir()
        watched.tmp.mkdir()
        yield watched, watched.run("run", "--as-of", AS_OF, "--json")


def test_exit_code_says_that_files_were_refused(watched: tuple[Watched, Finished]) -> None:
    _, done = watched
    assert done.code == ExitCode.REFUSED_INPUT, done.err
    assert done.json()["checks"]["failed"] == 0, "what was good is published"


def test_each_refused_file_is_named_with_its_reason(watched: tuple[Watched, Finished]) -> None:
    home, done = watched[0].home, watched[1]
    for name, reason in bad_files.REFUSED.items():
        told = [line for line in done.err.splitlines() if Path(name).name in line]
        assert told and reason in told[0], (name, told)
        assert (home / "landing" / name).exists(), "a refused file is not lost"
    sources = done.json()["sources"]
    assert {name: found["refused_files"] for name, found in sources.items()} == {
        "web": 2,
        "app": 1,
        "wechat": 0,
        "in_store": 3,
    }


def test_row_that_is_too_long_is_quarantined_and_its_file_goes_on(watched: tuple[Watched, Finished]) -> None:
    found = watched[1].json()["sources"]["app"]
    batches = (
        json.loads(path.read_bytes()) for path in (watched[0].home / "lake" / "manifests" / "app").glob("*.json")
    )
    (batch,) = [one for one in batches if one["file"].endswith("events-2026-08-02.jsonl")]
    assert (batch["accepted"], batch["quarantined_by_reason"]) == (1, {"oversized": 1})
    assert found["read"] == found["accepted"] + found["duplicates"] + found["quarantined"]
    assert not (watched[0].home / "landing" / "app" / "events-2026-08-02.jsonl").exists(), (
        "what was read is gone from landing"
    )


def test_no_line_of_a_bad_file_is_repeated(watched: tuple[Watched, Finished]) -> None:
    _, done = watched
    for value in ("ck-bad", "M900999", "dv-big"):
        assert value not in done.out + done.err


@pytest.mark.fault("E1")
@pytest.mark.fault("E2")
@pytest.mark.fault("E3")
@pytest.mark.fault("E6")
@pytest.mark.fault("E9")
def test_canaries_are_found_nowhere(watched: tuple[Watched, Finished], tmp_path: Path) -> None:
    """Nor does anything call home, and the scan finds what is then left on purpose in each place. The last test of that
    home, which it changes."""
    (at, done), home = watched, watched[0].home
    sources = done.json()["sources"]
    assert {name: source["quarantined"] >= 2 for name, source in sources.items()} == dict.fromkeys(sources, True)
    lineage = at.said / "lineage"
    explained, _, *told, _ = at.run_all(
        (
            ("explain", "--segment", "wechat_engaged", "--identifier-file", "-", "--json"),
            f"openid:wx-oa-shop:{OPENID}\n",
        ),
        (("consent", "state", "--identifier-file", "-"), f"email:email:{EMAIL}\nphone:e164:no-{PHONE}\n"),
        (("lineage", "--html", f"{lineage}.html", "--openlineage", f"{lineage}.jsonl"), ""),
        (("lineage", "exports.wechat_engaged__wechat_broadcast.contact", "--json"), ""),
        (("export",), ""),
    )
    assert [explained.code, *(one.code for one in told)] == [0, 0, 0], told
    assert [*home.glob("evidence/*/openlineage.jsonl")] and [*home.glob("policies/*/lineage.json")]
    audience = shutil.copytree(home / "outbox", tmp_path / "outbox")  # the next scan wants it as it is
    assert OPENID in exported(home), "the good rows went all the way"
    withdrawn, *_ = at.run_all(
        (("consent", "withdraw", "--identifier-file", "-", "--controller", "shop", "--all"), f"email:email:{EMAIL}\n"),
        (("consent", "receipt", "--identifier-file", "-", "--json"), f"email:email:{EMAIL}\n"),
        (("withdrawals", "--json"), ""),
        (("backup", str(at.said / "home.backup")), f"{PASSPHRASE}\n"),
    )
    assert withdrawn.code == 0
    assert (at.said / "home.backup").is_file()
    places = (home, home.with_name("home.anchor"), at.said, at.tmp)
    assert scan(places, NEEDLES) == {}
    shutil.rmtree(home / "outbox")
    audience.rename(home / "outbox")

    for plant in (plant_online, plant_consent):
        plant(home / "landing", NEXT)
    web = home / "landing" / "web" / f"tag-{NEXT}.jsonl.gz"
    web.write_bytes(web.read_bytes()[:-6])  # refused whole: it stays
    mark(web)
    till = home / "landing" / "in_store" / f"till-{NEXT.replace('-', '')}.csv"
    till.write_bytes(f"小票行号,{PHONE}\n{NAME},{EMAIL}\n".encode("gb18030"))
    mark(till, ".ok")
    policy = broken_policy(tmp_path / "policy")
    failed = at.run("--policy", str(policy), "run", "--as-of", "2026-11-22T01:00:00+08:00")
    assert failed.code == ExitCode.FAILED, failed.err
    assert "Traceback" not in failed.err
    exported(home)
    assert scan(places, NEEDLES).keys() == REFUSED, "refused files stay where they landed"
    also = [argument for folder in places[2:] for argument in ("--also", str(folder))]
    searched = at.run("prove", "--canaries", *also)
    assert searched.code == ExitCode.OK, searched.out
    assert pickles(home) == []
    assert at.heard == [], "telemetry, version checks and lineage events are all off"
    left = leave_leaks(home)
    (home / "dagster" / "storage.pickle").write_bytes(pickle.dumps([1]))
    assert scan([home], NEEDLES).keys() == REFUSED | left
    assert pickles(home) == [home / "dagster" / "storage.pickle"]


def test_proxy_hears_who_calls() -> None:
    """The control: a library that calls home with these variables is heard."""
    code = "import urllib.request; urllib.request.urlopen('http://telemetry.example.invalid/', timeout=5)"
    with listening() as (port, heard):
        environment = {**os.environ, **calling(port)}
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
        assert [line.split()[0] for line in heard] == ["GET"]


def test_the_scan_itself_finds_what_is_hidden(tmp_path: Path) -> None:
    for number, secret in enumerate((EMAIL, PHONE, OPENID)):
        count = plant_everywhere(tmp_path / str(number), secret)
        found = scan([tmp_path / str(number)], NEEDLES)
        assert len(found) == count, f"a way of hiding is not seen through: {sorted(found)}"
