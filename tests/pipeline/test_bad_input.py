"""Bad files beside good ones: each is refused or quarantined by itself, the rest goes on, and the exit code says so."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from orchestration.errors import ExitCode
from tests.homes import lend_project
from tests.markers import mark
from tests.pipeline.conftest import AS_OF, Finished, assent, make_demo

HEADER = "小票行号,类型,时间,会员码,手机号,姓名,生日,项目,金额,门店,城市,等级"
LINE = "{id},销售,2026/11/20 10:00:00,M900999,,,,sku-001,10,store-xuhui,上海,gold"
VISIT = {"messageId": "bad-1", "event": "page_viewed", "timestamp": "2026-11-20T01:00:00Z", "anonymousId": "ck-bad"}
OPEN = {"id": "big-1", "name": "app_open", "ts": 1795140000000, "device": {"id": "dv-big"}}

EXPECTED = {  # file (under landing) → why it is refused
    "web/tag-2026-08-01.jsonl.gz": "truncated",
    "web/tag-2026-08-02.jsonl.gz": "corrupt",
    "in_store/till-20260801.csv": "ragged",
    "in_store/till-20260802.csv": "wrong_encoding",
    "in_store/till-20260803.csv": "missing_column",
    "app/events-2026-08-01.jsonl": "empty",
}


def plant(landing: Path) -> None:
    packed = gzip.compress("".join(json.dumps(VISIT) + "\n" for _ in range(500)).encode(), mtime=0)
    footer = "\n合计,,,,,,,,10,,,\n"
    tills = {
        "in_store/till-20260801.csv": (HEADER + "\n" + LINE.format(id="r1") + ",more,cells" + footer).encode("gb18030"),
        "in_store/till-20260802.csv": (HEADER + "\n" + LINE.format(id="r2") + footer).encode("gb18030") + b"\xff\xff\n",
        "in_store/till-20260803.csv": (HEADER.replace("姓名", "身份证") + "\n" + LINE.format(id="r3") + footer).encode(
            "gb18030"
        ),
    }
    files = {
        "web/tag-2026-08-01.jsonl.gz": packed[:-20],
        "web/tag-2026-08-02.jsonl.gz": packed[:-8] + bytes(4) + packed[-4:],
        "app/events-2026-08-01.jsonl": b"",
        "app/events-2026-08-02.jsonl": (
            json.dumps(OPEN) + "\n" + json.dumps({**OPEN, "id": "x" * 3_000_000}) + "\n"
        ).encode(),
        **tills,
    }
    for name, content in files.items():
        (landing / name).write_bytes(content)
        mark(landing / name, ".done" if name.startswith("web") else ".ok")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    home = lend_project(tmp_path_factory, make_demo(tmp_path_factory.mktemp("bad") / "home", people=100, days=5))
    plant(home / "landing")
    return home, assent(home, "run", "--as-of", AS_OF, "--json")


def test_exit_code_says_that_files_were_refused(worlds: tuple[Path, Finished]) -> None:
    _, done = worlds
    assert done.code == ExitCode.REFUSED_INPUT, done.err
    assert done.json()["checks"]["failed"] == 0, "what was good is published"


def test_each_refused_file_is_named_with_its_reason(worlds: tuple[Path, Finished]) -> None:
    home, done = worlds
    for name, reason in EXPECTED.items():
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


def test_row_that_is_too_long_is_quarantined_and_its_file_goes_on(worlds: tuple[Path, Finished]) -> None:
    found = worlds[1].json()["sources"]["app"]
    assert found["quarantined_by_reason"]["oversized"] == 1
    assert found["read"] == found["accepted"] + found["duplicates"] + found["quarantined"]
    assert not (worlds[0] / "landing" / "app" / "events-2026-08-02.jsonl").exists(), (
        "what was read is gone from landing"
    )


def test_no_line_of_a_bad_file_is_repeated(worlds: tuple[Path, Finished]) -> None:
    _, done = worlds
    for value in ("ck-bad", "M900999", "dv-big"):
        assert value not in done.out + done.err
