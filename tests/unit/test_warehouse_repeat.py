"""When a run may verify the generation in force instead of building it again, and everything that forbids it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError, VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import Manifest, write_manifest
from orchestration.policy.loader import FILES, SHIPPED, load_policy
from orchestration.warehouse import gate, repeat, stage
from orchestration.warehouse.build import Build, warehouse_file
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.gate import REQUIRED_STAGES, release
from orchestration.warehouse.publish import publish, published, release_path
from orchestration.warehouse.repeat import checks_of, find_repeat, repeated
from orchestration.warehouse.stage import stage_inputs
from tests.homes import put_back
from tests.ledger_places import ANNE, grant

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
CHECKS = [CheckResult(stage, "what it checks is good", True) for stage in sorted(REQUIRED_STAGES)]
WANTED = {(check.stage, check.name) for check in CHECKS}
LAKE_FILE = "web/day=2026-10-31/batch.parquet"


@dataclass
class World:
    """A home with one released generation in force; `stage` is what the next run does first."""

    home: Home
    policy_dir: Path = SHIPPED

    def stage(self, **changes: Any) -> Build:
        policy = load_policy(self.policy_dir)
        arguments = {"as_of": AS_OF, "policy_dir": self.policy_dir} | changes
        return stage_inputs(self.home, policy, Keys.open(self.home), **arguments)

    def build(self) -> Build:
        """Stages, and stands in for dbt: a mart per segment."""
        build = self.stage()
        with duckdb.connect(str(build.path(self.home))) as con:
            con.execute("CREATE SCHEMA marts")
            for segment in load_policy(self.policy_dir).segments.segments:
                con.execute(f'CREATE TABLE marts."{segment.name}" AS SELECT 1 AS audience_key')
        return build

    @property
    def file(self) -> Path:
        return warehouse_file(self.home, self.generation)

    @property
    def generation(self) -> str:
        return str(json.loads(self.home.published.read_bytes())["generation"])

    def is_repeat(self, **changes: Any) -> bool:
        """Would the next run verify only? Where it would not, what it has staged is still there to be built."""
        build = self.stage(**changes)
        found = find_repeat(self.home, build, WANTED)
        assert build.path(self.home).exists() is not found
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The world's folder, for one test after the other, and a copy of it that nobody changes."""
    place = tmp_path_factory.mktemp("repeat") / "place"
    world = World(Home.open(place / "home", demo_seed=1))
    deliver(world.home)
    with open_ledger(world.home, Keys.open(world.home)) as (ledger, _):
        ledger.append([grant("e1", effective_at=AS_OF - timedelta(days=1))], AS_OF)
    build = world.build()
    release(world.home, build, CHECKS)
    assert publish(world.home, build, now=AS_OF)
    return place, Path(shutil.copytree(place, place.with_name("kept")))


@pytest.fixture
def world(made: tuple[Path, Path]) -> World:
    """In its own place: the views of the generation name the lake there."""
    place, kept = made
    return World(Home.open(put_back(kept, place) / "home", create=False))


def deliver(home: Home) -> None:
    path = home.lake / LAKE_FILE
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"touchpoint_key": ["t1"], "subject_token": ["s1"]}), path)
    write_manifest(
        home,
        Manifest(
            source="web", feed="tag", batch="b" * 32, input_sha256="0" * 64, file="f", day=None, is_complete=True,
            read=1, accepted=1, duplicates=0, quarantined=0, quarantined_by_reason={}, files=[LAKE_FILE],
            links_file=None, recorded_at=AS_OF,
        ),
    )  # fmt: skip


def test_repeat_of_the_generation_in_force_is_found_and_noted(world: World) -> None:
    build = world.stage()
    assert repeated(world.home, build) is None, "nothing has looked yet"
    assert find_repeat(world.home, build, WANTED)
    receipt = repeated(world.home, build)
    assert receipt is not None
    assert [check for stage in sorted(REQUIRED_STAGES) for check in checks_of(receipt, stage)] == CHECKS
    assert publish(world.home, build, now=AS_OF), "it is in force"
    assert not list(world.home.building.iterdir())


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def receipt_of(world: World) -> Path:
    return release_path(world.home, world.generation)


def archived(world: World, name: str) -> Path:
    return world.home.evidence / world.generation / name


def alter(world: World, sql: str) -> None:
    """Changes the published file and both hashes of it, as one does who knows where they are."""
    with duckdb.connect(str(world.file)) as con:
        con.execute(sql)
    digest = gate.file_sha256(world.file)
    rewrite(world.home.published, file_sha256=digest)
    rewrite(receipt_of(world), file_sha256=digest)


def failed_check(world: World) -> None:
    checks = json.loads(receipt_of(world).read_bytes())["checks"]
    rewrite(receipt_of(world), checks=[{**check, "passed": False} for check in checks])


def one_check_less(world: World) -> None:
    receipt = json.loads(receipt_of(world).read_bytes())
    rewrite(receipt_of(world), checks=receipt["checks"][1:], checks_passed=receipt["checks_passed"] - 1)


def put_contact(world: World) -> None:
    """Learned by no delivery and no record: no hash in the generation's name tells of it."""
    with Vault(world.home, Keys.open(world.home)) as vault:
        vault.put([("token-9", "phone", "any", "+8613800138009")])


TAMPERINGS: dict[str, Callable[[World], object]] = {
    "a byte of the file": lambda w: w.file.write_bytes(w.file.read_bytes()[:-1] + b"x"),
    "the file is gone": lambda w: w.file.unlink(),
    "a policy table in the file": lambda w: alter(w, "UPDATE policy.segments SET segment = 'x' WHERE 1 = 1"),
    "a view of the lake in the file": lambda w: alter(w, "CREATE OR REPLACE VIEW lake.web AS SELECT 1 AS x"),
    "a table missing in the file": lambda w: alter(w, "DROP TABLE activity.deliveries"),
    "a consent event in the file": lambda w: alter(w, "UPDATE ledger.consent_events SET decision = 'deny'"),
    "no receipt": lambda w: receipt_of(w).unlink(),
    "the receipt is half written": lambda w: receipt_of(w).write_bytes(receipt_of(w).read_bytes()[:40]),
    "the receipt's file": lambda w: rewrite(receipt_of(w), file_sha256="0" * 64),
    "the receipt's policy": lambda w: rewrite(receipt_of(w), policy_hash="other"),
    "the receipt's counts": lambda w: rewrite(receipt_of(w), checks_passed=999),
    "the receipt's tools": lambda w: rewrite(receipt_of(w), tools_hash=""),
    "the receipt of an older Assent": lambda w: rewrite(receipt_of(w), checks=[]),
    "a check in the receipt that failed": failed_check,
    "a check that was not made": one_check_less,
    "no pointer": lambda w: w.home.published.unlink(),
    "the pointer is half written": lambda w: w.home.published.write_text("{"),
    "the pointer's ledger": lambda w: rewrite(w.home.published, ledger_seq=0, ledger_head="genesis"),
    "the pointer's lake": lambda w: rewrite(w.home.published, lake_hash="other"),
    "the pointer's code": lambda w: rewrite(w.home.published, code_hash="other"),
    "no archive of what it read": lambda w: archived(w, "inputs.json").unlink(),
    "what the archive says of T": lambda w: rewrite(archived(w, "inputs.json"), as_of="2026-10-01T00:00:00Z"),
    "the archive's list of files": lambda w: pq.write_table(
        pq.read_table(archived(w, "inputs.parquet")).slice(1), archived(w, "inputs.parquet")
    ),
    "bytes of the lake": lambda w: (w.home.lake / LAKE_FILE).write_bytes(
        (w.home.lake / LAKE_FILE).read_bytes().replace(b"t1", b"t2")
    ),
    "a contact point": put_contact,
}


# Staging itself stops where the generation in force rests on another ledger: nothing is passed over.
REFUSED = {"the pointer's ledger"}


@pytest.mark.parametrize("what", sorted(TAMPERINGS.keys() - REFUSED))
def test_anything_touched_is_built_again(world: World, what: str) -> None:
    TAMPERINGS[what](world)
    assert not world.is_repeat()
    assert not (world.home.tmp / "repeat.json").exists()


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_publication_of_another_ledger_stops_the_run(world: World, what: str) -> None:
    build = world.stage()
    TAMPERINGS[what](world)
    assert not find_repeat(world.home, build, WANTED)
    with pytest.raises(AssentError):
        world.stage()


def test_new_record_in_the_ledger_is_built(world: World) -> None:
    with open_ledger(world.home, Keys.open(world.home)) as (ledger, _):
        ledger.append([grant("e2", ANNE, decision="withdraw")], AS_OF)
    assert not world.is_repeat()


def test_another_t_is_built(world: World) -> None:
    assert not world.is_repeat(as_of=AS_OF + timedelta(days=1))


def test_changed_policy_is_built(world: World, tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    for name in FILES:
        shutil.copy(SHIPPED / f"{name}.yaml", tmp_path / "policy")
    file = tmp_path / "policy" / "segments.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("minimum_size: 10", "minimum_size: 11"), encoding="utf-8")
    world.policy_dir = tmp_path / "policy"
    assert load_policy(world.policy_dir) != load_policy(SHIPPED)
    assert not world.is_repeat()


def test_changed_code_is_built(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "code_hash", lambda: "changed")
    assert not world.is_repeat()


def test_other_keys_are_another_build(world: World) -> None:
    build = replace(world.stage(), keys_id="other")
    assert not find_repeat(world.home, build, WANTED)


def test_upgraded_tools_build_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeat, "tools_hash", lambda: "another DuckDB")
    assert not world.is_repeat()


@pytest.mark.parametrize("wanted", [set(), {*WANTED, ("dbt", "a test that was added")}])
def test_check_that_nobody_made_is_not_taken_as_passed(world: World, wanted: set[tuple[str, str]]) -> None:
    assert not find_repeat(world.home, world.stage(), wanted)


def test_note_of_another_build_is_no_repeat(world: World) -> None:
    build = world.stage()
    assert find_repeat(world.home, build, WANTED)
    assert repeated(world.home, replace(build, ledger_seq=99)) is None


def test_generation_replaced_during_the_run_stops_it(world: World) -> None:
    build = world.stage()
    assert find_repeat(world.home, build, WANTED)
    rewrite(world.home.published, lake_hash="other")
    assert published(world.home) is not None
    with pytest.raises(VerifyError, match="not the one that this run verified"):
        repeated(world.home, build)
