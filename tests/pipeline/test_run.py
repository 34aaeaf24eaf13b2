"""The whole build through the command line: what it says, that a rerun changes nothing, and that nothing leaks."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.errors import ExitCode
from orchestration.settings import QUIET, child_environment
from tests.pipeline.conftest import AS_OF, Finished, assent

CANARY_EMAIL = "canary_7f3a@example.invalid"
CANARY_PHONE = "13977700423"
KILLED_AFTER = random.Random(20261122)


def test_summary_has_its_shape_and_sums_up(built: tuple[Path, Finished]) -> None:
    summary = built[1].json()
    assert set(summary["sources"]) == {"web", "app", "wechat", "in_store"}
    for source in summary["sources"].values():
        assert source["read"] == source["accepted"] + source["duplicates"] + source["quarantined"]
        assert source["accepted"] > 0
    totals = {entry["permit"] + sum(entry["deny"].values()) for entry in summary["decisions"].values()}
    assert totals == {sum(source["accepted"] for source in summary["sources"].values())}
    assert summary["segments"]["wechat_engaged"]["people"] > 0
    assert summary["checks"]["failed"] == 0
    assert summary["checks"]["passed"] > 100
    for export in summary["exports"]:
        people = summary["segments"][export["segment"]]["people"]
        assert export["rows"] + sum(export["withheld"].values()) == people
    for name in ("generation", "as_of", "policy_hash", "ledger_head", "content_hash"):
        assert summary[name]


def test_files_are_where_the_summary_says(built: tuple[Path, Finished]) -> None:
    home, done = built
    written = [export for export in done.json()["exports"] if export["rows"]]
    assert written
    for export in written:
        assert (home / export["path"]).is_file()
    generation = done.json()["generation"]
    page = (home / "evidence" / generation / "report.html").read_text(encoding="utf-8")
    assert generation in page
    assert "Engaged on WeChat" in page
    assert "微信活跃" in page


def test_progress_goes_to_stderr_only(built: tuple[Path, Finished]) -> None:
    assert "dbt " in built[1].err
    assert built[1].out.startswith("{")


def test_status_verify_and_doctor_agree(built: tuple[Path, Finished]) -> None:
    home, done = built
    assert done.json()["generation"] in assent(home, "status").out
    assert assent(home, "verify", "--json").code == ExitCode.OK
    assert assent(home, "doctor", "--json").code == ExitCode.OK


def test_rerun_changes_nothing(built: tuple[Path, Finished], copy_of: Callable[[Path], Path]) -> None:
    before = built[1].json()
    again = assent(copy_of(built[0]), "run", "--json")
    assert again.code == 0, again.err
    after = again.json()
    assert after["content_hash"] == before["content_hash"]
    assert after["segments"] == before["segments"]
    assert [e["sha256"] for e in after["exports"]] == [e["sha256"] for e in before["exports"]]


def test_build_for_an_older_day_is_evidence_only(built: tuple[Path, Finished], copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(built[0])
    pointer = (home / "warehouse" / "published.json").read_bytes()
    older = assent(home, "run", "--as-of", "2026-11-20T00:00:00+08:00", "--json")
    assert older.code == 0, older.err
    assert (home / "warehouse" / "published.json").read_bytes() == pointer
    assert older.json()["generation"] != built[1].json()["generation"]
    assert older.json()["exports"] == []


def test_other_landing_folder_is_refused_for_a_demo_home(built: tuple[Path, Finished], tmp_path: Path) -> None:
    refused = assent(built[0], "run", "--landing", str(tmp_path))
    assert refused.code == ExitCode.HOME
    assert "Traceback" not in refused.err


def plant(home: Path) -> None:
    """A good and a bad row with the canary in every source, and a file that is refused whole."""
    landing, day, short = home / "landing", "2026-11-21", "20261121"
    good = {"messageId": "canary-1", "event": "page_viewed", "timestamp": "2026-11-21T10:00:00+08:00"}
    rows = [
        {**good, "context": {"traits": {"email": CANARY_EMAIL}}},
        {**good, "messageId": "canary-2", "timestamp": CANARY_EMAIL, "context": {"traits": {"email": CANARY_EMAIL}}},
        {**good, "messageId": "canary-3", CANARY_PHONE: CANARY_EMAIL},
    ]
    web = landing / "web" / f"tag-{day}.jsonl.gz"
    text = gzip.decompress(web.read_bytes()).decode() + "".join(json.dumps(row) + "\n" for row in rows)
    web.write_bytes(gzip.compress(text.encode(), mtime=0))
    app = {"name": "app_open", "ts": "1795226400000", "device": {"id": "canary-device"}, "user_phone": CANARY_PHONE}
    with (landing / "app" / f"events-{day}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**app, "id": "canary-1"}) + "\n")
        file.write(json.dumps({**app, "id": "canary-2", "ts": CANARY_EMAIL}) + "\n")
    mini = {"appid": "wx-mp-shop", "openid": "oM-canary", "event": "launch", "ts": 1795226400, "phone": CANARY_PHONE}
    with (landing / "wechat" / f"mp-{day}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(mini) + "\n")
        file.write(json.dumps({**mini, "ts": CANARY_EMAIL}) + "\n")
    till = landing / "in_store" / f"till-{short}.csv"
    lines = till.read_bytes().decode("gb18030").splitlines(keepends=True)
    names = lines[0].strip().split(",")
    row = {
        "小票行号": "canary-1",
        "类型": "咨询",
        "时间": "2026/11/21 10:00:00",
        "手机号": CANARY_PHONE,
        "项目": "sku-001",
    }
    row |= {"金额": "0", "门店": "store-xuhui", "姓名": CANARY_EMAIL}
    bad = {**row, "小票行号": "canary-2", "金额": CANARY_EMAIL}
    added = [",".join(values.get(name, "") for name in names) + "\r\n" for values in (row, bad)]
    till.write_bytes("".join([lines[0], *added, *lines[1:]]).encode("gb18030"))
    broken = landing / "web" / "tag-2026-11-22.jsonl.gz"
    broken.write_bytes(gzip.compress((json.dumps(rows[0]) + "\n").encode())[:-6])
    broken.with_name(broken.name + ".done").touch()


def leaks(home: Path) -> list[str]:
    """Every file under home, but for unprocessed landing files, that holds the canary."""
    found = []
    for path in home.rglob("*"):
        if path.is_file() and not path.is_relative_to(home / "landing"):
            data = path.read_bytes()
            if any(
                word.encode(code) in data for word in (CANARY_EMAIL, CANARY_PHONE) for code in ("utf-8", "utf-16-le")
            ):
                found.append(path.relative_to(home).as_posix())
    return found


def test_canary_is_found_nowhere(landed: Path, copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(landed)
    plant(home)
    done = assent(home, "run", "--as-of", AS_OF, "--json")
    assert done.code == ExitCode.REFUSED_INPUT, done.err
    assert done.json()["sources"]["web"]["refused_files"] == 1
    assert done.json()["sources"]["web"]["quarantined"] >= 2
    assert leaks(home) == []
    assert CANARY_EMAIL not in done.out + done.err
    (home / "found.txt").write_text(CANARY_EMAIL)
    assert leaks(home) == ["found.txt"], "the scan itself works"
    (home / "found.txt").unlink()
    shutil.rmtree(home / "warehouse" / "building")
    (home / "warehouse" / "building").write_text("in the way of the next build")
    failed = assent(home, "run", "--as-of", "2026-11-22T01:00:00+08:00")
    assert failed.code not in (0, ExitCode.REFUSED_INPUT)
    assert "Traceback" not in failed.err
    assert leaks(home) == []


def kill_and_recover(home: Path, seconds: float, expected: str) -> None:
    """Kills a build's process group after `seconds`; what was published stays whole, and the next build is good."""
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", "run", "--as-of", AS_OF]
    environment = child_environment({**QUIET, "ASSENT_HOME": str(home)})
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if (home / "warehouse" / "published.json").exists():
        assert assent(home, "verify", "ledger").code == ExitCode.OK
    done = assent(home, "run", "--as-of", AS_OF, "--json")
    assert done.code == 0, done.err
    assert done.json()["content_hash"] == expected


@pytest.mark.parametrize("sample", range(2))
def test_killed_build_is_simply_run_again(
    sample: int, landed: Path, built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    kill_and_recover(copy_of(landed), KILLED_AFTER.uniform(3, 25), built[1].json()["content_hash"])


@pytest.mark.slow
@pytest.mark.parametrize("sample", range(10))
def test_killed_build_is_simply_run_again_many_times(
    sample: int, landed: Path, built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    seconds = random.Random(sample).uniform(1, 40)
    kill_and_recover(copy_of(landed), seconds, built[1].json()["content_hash"])
