"""`assent replay` on a real generation: equal after all that came later; what went is explained, or found."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.evidence.removed import RemovedFile, note_removed
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.ingest import ingest_all
from orchestration.policy.loader import load_policy
from orchestration.warehouse import archive
from orchestration.warehouse.gate import file_sha256
from tests.homes import copy_home
from tests.pipeline.conftest import AS_OF, Finished, assent
from tests.pipeline.test_withdrawal import PERSONA, withdraw

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def settled(built: tuple[Path, Finished], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """The built home built again: the first build ended with a purge; this one reads what that left, purges nothing."""
    home = copy_home(built[0], tmp_path_factory.mktemp("settled") / "home")
    done = assent(home, "run", "--as-of", AS_OF, "--json")
    assert done.code == 0, done.err
    return home, done


@pytest.fixture(scope="module")
def later(landed: Path, settled: tuple[Path, Finished], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That home after a withdrawal that came later, an export, and a batch that landed later."""
    home = copy_home(settled[0], tmp_path_factory.mktemp("later") / "home")
    assert withdraw(home).code == 0
    assert assent(home, "export").code == 0
    lines = (landed / "landing" / "app" / "events-2026-11-20.jsonl").read_text().splitlines()
    late = [json.dumps({**json.loads(line), "id": f"late-{n}"}) for n, line in enumerate(lines)]
    (home / "landing" / "app" / "events-2026-11-22.jsonl").write_text("\n".join(late) + "\n")
    place = Home.open(home, create=False)
    with place.lock():
        reports = ingest_all(place, load_policy(), Keys.open(place), place.landing, now=NOW, as_of=NOW)
    assert sum(report.accepted for report in reports) > 10
    return home


def generation_of(home: Path) -> str:
    return str(json.loads((home / "warehouse" / "published.json").read_bytes())["generation"])


def left_behind(home: Path) -> set[str]:
    """Every file of the home but those that any command touches."""
    files = (path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    return {name for name in files if not name.startswith(("lock", "dagster/", "ledger.sqlite-", "keys/", "tmp/dbt/"))}


def replayed(home: Path, code: int) -> dict[str, Any]:
    done = assent(home, "replay", "--json")
    assert done.code == code, done.err + done.out
    found: dict[str, Any] = done.json()
    return found


@pytest.mark.slow  # a build and a replay; test_evidence_replay.py has the parts
def test_replay_is_equal_whatever_came_later_and_leaves_only_its_record(
    settled: tuple[Path, Finished], later: Path
) -> None:
    before = left_behind(later)
    found = replayed(later, 0)
    assert (found["status"], found["problems"], found["tables"]) == ("equal", [], {})
    assert found["content_hash_now"] == found["content_hash_then"] == settled[1].json()["content_hash"]
    assert found["files"] > 100 and found["compared_with"] == "file"
    new = left_behind(later) - before
    (record,) = [name for name in new if "/replays/" in name]
    assert new == {record}
    assert (later / record).stat().st_mode & 0o077 == 0


SEGMENT = "consulted_not_bought_30"


@pytest.fixture(scope="module")
def two_nights(later: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The later home after the next night's build, and both generations."""
    home = copy_home(later, tmp_path_factory.mktemp("two") / "home")
    first = generation_of(home)
    done = assent(home, "run", "--as-of", "2026-11-23T00:00:00+08:00")
    assert done.code == 0, done.err
    return home, first, generation_of(home)


def explain_at(home: Path, at: str) -> dict[str, Any]:
    arguments = ("explain", "--at", at, "--segment", SEGMENT, "--identifier-file", "-", "--json")
    done = assent(home, *arguments, stdin=f"account:shop:{PERSONA}\n")
    assert done.code == 0, done.err
    found: dict[str, Any] = done.json()
    return found


@pytest.mark.slow
def test_generations_of_then_answer_also_where_their_file_is_gone(two_nights: tuple[Path, str, str]) -> None:
    """Who left and why; on what basis a person was delivered then: by the kept file, then by a rebuilt one."""
    home, first, second = two_nights
    kept = assent(home, "diff", first, second, "--json").json()
    (segment,) = [one for one in kept["segments"] if one["segment"] == SEGMENT]
    assert segment["left"]["withdrawn"] is None and kept["same_policy"], "one is too few to be told"
    basis = explain_at(home, "2026-11-22T00:00:00+08:00")
    then = basis["basis"]["generation"]  # where a demo's clock stands still, either of two of one instant
    for file in (file for one in {first, then} for file in (home / "warehouse").glob(f"{one}.*")):
        file.unlink()
    assert assent(home, "diff", first, second).code == 1
    # the second night ended with a purge: why somebody was not in a segment then may be gone with their rows
    again = assent(home, "diff", first, second, "--rebuild", "--json").json()
    (rebuilt,) = [one for one in again["segments"] if one["segment"] == SEGMENT]
    assert [rebuilt[name] for name in ("people_then", "people_now")] == [
        segment[name] for name in ("people_then", "people_now")
    ]
    assert rebuilt["left"]["withdrawn"] is None, "as before"
    rebuilt = explain_at(home, "2026-11-22T00:00:00+08:00")
    assert (basis["basis"].pop("source"), rebuilt["basis"].pop("source")) == ("kept", "replayed")
    assert rebuilt == basis and rebuilt["basis"]["generation"] == then
    ((answer,),) = [one["segments"] for one in rebuilt["at"] if one["controller"] == "shop"]
    # a demo's clock stands still: the build, both exports and the withdrawal between them are of one instant
    places = {(place["reason"], place["since_build"]) for place in answer["destinations"]}
    assert answer["is_member"] and places == {("withdrawn", True)}
    now = explain_at(home, "2026-11-24T00:00:00+08:00")
    ((answer,),) = [one["segments"] for one in now["at"] if one["controller"] == "shop"]
    assert (now["basis"]["generation"], answer["is_member"], answer["reason"]) == (second, False, "withdrawn")


def some_files(home: Path) -> list[dict[str, Any]]:
    """Files of the lake that the published generation read, those with the most rows first."""
    _, files = archive.load(Home(home), generation_of(home))
    rows = [row for row in files.to_pylist() if row["kind"] == "touchpoints" and row["path"] is not None]
    return sorted(rows, key=lambda row: (-row["rows"], row["path"]))


def halve(home: Path, path: str) -> int:
    """Rewrites a file of the lake with every second row; returns how many went."""
    con = duckdb.connect()
    rows = con.execute(f"select * from read_parquet('{home / path}', hive_partitioning = false)").to_arrow_table()
    con.register("half", rows.slice(0, rows.num_rows // 2))
    con.execute(f"copy half to '{home / path}' (format parquet)")
    return int(rows.num_rows - rows.num_rows // 2)


@pytest.fixture(scope="module")
def purged(settled: tuple[Path, Finished], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settled home after one file was erased and another settled again, both noted."""
    home = copy_home(settled[0], tmp_path_factory.mktemp("purged") / "home")
    erased, settled = some_files(home)[:2]
    note_removed(Home(home), "erasure", [RemovedFile(path=erased["path"], rows=erased["rows"])], now=NOW)
    (home / erased["path"]).unlink()
    went = halve(home, settled["path"])
    rest = RemovedFile(
        path=settled["path"], rows=went, replaced_by=settled["path"], sha256=file_sha256(home / settled["path"])
    )
    note_removed(Home(home), "retention", [rest], now=NOW)
    return home


@pytest.mark.slow
def test_replay_tells_erasure_and_retention_apart(purged: Path) -> None:
    erased, settled = some_files(purged)[:2]
    found = replayed(purged, 0)
    assert (found["status"], found["problems"]) == ("explained", [])
    missing = {file["path"]: (file["state"], file["cause"]) for file in found["files_missing"]}
    assert missing == {erased["path"]: ("gone", "erasure"), settled["path"]: ("rewritten", "retention")}
    assert found["rows_gone"]["touchpoints"]["erasure"] == erased["rows"]
    assert found["tables"]["governance.coverage"]["lost"].keys() == {"erasure + retention"}
    causes = {c for name, t in found["tables"].items() if name.startswith("marts.") for c in (*t["lost"], *t["gained"])}
    assert causes <= {"erasure", "retention"}


@pytest.mark.slow
def test_replay_fails_on_what_is_unexplained_and_names_it(purged: Path) -> None:
    """A file that merely is gone, one that was edited, and a row of the kept file that was changed."""
    lost, edited = some_files(purged)[2:4]
    (purged / lost["path"]).unlink()
    halve(purged, edited["path"])
    generation = generation_of(purged)
    con = duckdb.connect(str(purged / "warehouse" / f"{generation}.duckdb"))
    con.execute(
        "update marts.wechat_engaged set notice = 'forged@1' "
        "where audience_key = (select max(audience_key) from marts.wechat_engaged)"
    )
    con.close()
    found = replayed(purged, 6)
    assert found["status"] == "differs"
    told = "\n".join(found["problems"])
    assert f"{lost['path']} was gone: unexplained" in told
    assert f"{edited['path']} was changed: unexplained" in told
    assert f"warehouse/{generation}.duckdb is not the file that passed its checks" in told
    assert "does not hold the rows that its evidence says" in told
    assert found["tables"]["marts.wechat_engaged"]["lost"]["unexplained"] >= 1


@pytest.mark.slow
def test_replay_refuses_a_policy_that_was_changed_or_cannot_be_read(purged: Path) -> None:
    generation = generation_of(purged)
    inputs_file = purged / "evidence" / generation / "inputs.json"
    inputs = json.loads(inputs_file.read_bytes())
    folder = purged / "policies" / inputs["project"]
    model = folder / "dbt" / "models" / "marts" / "marketing" / "follow_up.sql"
    text = model.read_text()
    model.write_text(text + "\n")
    done = assent(purged, "replay")
    assert done.code == 6 and "not those of then" in done.err
    model.write_text(text)
    policy = json.loads((folder / "policy.json").read_bytes())
    policy["retention"]["of_an_older_form"] = 1
    (folder / "policy.json").write_text(json.dumps(policy))
    assert "not those of then" in assent(purged, "replay").err
    sha256 = file_sha256(folder / "policy.json")
    inputs_file.write_text(json.dumps(inputs | {"policy_sha256": sha256}))
    done = assent(purged, "replay")
    assert done.code == 4 and "older form" in done.err
