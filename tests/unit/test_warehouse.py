"""Generations: staged inputs, the gate, publication by an atomic rename, the content hash."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse import publish as publishing
from orchestration.warehouse.build import Build, warehouse_file
from orchestration.warehouse.checks import CheckResult, dbt_checks, totals
from orchestration.warehouse.content import content_hash, hash_tables
from orchestration.warehouse.gate import REQUIRED_STAGES, NotReleasedError, receipt_path, release
from orchestration.warehouse.publish import connect_published, publish, published
from orchestration.warehouse.relations import relations
from orchestration.warehouse.stage import stage_inputs

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
NOW = AS_OF + timedelta(hours=2)
GOOD = [CheckResult(stage, "what it checks is good", True) for stage in sorted(REQUIRED_STAGES)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home", demo_seed=1)


def make_build(home: Home, *, as_of: datetime = AS_OF, seq: int = 7, people: int = 3, policy: str = "p1") -> Build:
    """A build with one segment, made by hand."""
    build = Build(as_of, policy, f"head{seq}", seq, "lake", "", "keys", "code")
    build.path(home).unlink(missing_ok=True)
    with duckdb.connect(str(build.path(home))) as con:
        con.execute("CREATE SCHEMA meta; CREATE SCHEMA policy; CREATE SCHEMA marts")
        con.execute("CREATE TABLE meta.builds AS SELECT ? AS generation", [build.generation])
        con.execute("CREATE TABLE policy.versions AS SELECT ? AS policy_hash", [policy])
        con.execute("CREATE TABLE policy.segments AS SELECT 'buyers' AS segment")
        con.execute("CREATE TABLE marts.buyers AS SELECT i AS audience_key FROM range(?) AS r(i)", [people])
    return build


def put_in_force(home: Home, build: Build, *, kept: int = 3) -> bool:
    release(home, build, GOOD)
    return publish(home, build, now=NOW, generations_kept=kept)


def test_gate_refuses_without_checks(home: Home) -> None:
    build = make_build(home)
    for checks in ([], *(GOOD[:n] + GOOD[n + 1 :] for n in range(len(GOOD)))):
        with pytest.raises(NotReleasedError, match="no checks were made"):
            release(home, build, checks)
    assert not receipt_path(home, build).exists()


def test_gate_refuses_a_failed_check_and_takes_the_receipt_back(home: Home) -> None:
    build = make_build(home)
    release(home, build, GOOD)
    with pytest.raises(NotReleasedError, match=rf"1 of {len(GOOD) + 5} checks failed: everyone consented \(4 rows\)"):
        release(home, build, [*GOOD, CheckResult("dbt", "everyone consented", False, "error", "4 rows")])
    assert not receipt_path(home, build).exists()


def test_gate_counts_a_warning_but_does_not_block(home: Home) -> None:
    receipt = release(home, make_build(home), [*GOOD, CheckResult("dbt", "few late rows", False, "warn")])
    assert (receipt.checks_passed, receipt.checks_failed) == (len(GOOD) + 4, 1)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("INSERT INTO meta.builds VALUES ('another')", "of this build alone"),
        ("UPDATE policy.versions SET policy_hash = 'other'", "of this policy alone"),
        ("INSERT INTO policy.segments VALUES ('lapsed')", "every segment is built"),
        ("CREATE TABLE marts.old AS SELECT 1 AS audience_key", "no segment is left over"),
    ],
)
def test_gate_refuses_a_file_of_two_builds_or_half_a_build(home: Home, damage: str, named: str) -> None:
    build = make_build(home)
    with duckdb.connect(str(build.path(home))) as con:
        con.execute(damage)
    with pytest.raises(NotReleasedError, match=named):
        release(home, build, GOOD)


def test_publish_refuses_without_a_receipt(home: Home) -> None:
    with pytest.raises(NotReleasedError, match="no release receipt"):
        publish(home, make_build(home), now=NOW)
    assert published(home) is None


def test_publish_refuses_a_file_changed_after_its_checks(home: Home) -> None:
    build = make_build(home)
    release(home, build, GOOD)
    with duckdb.connect(str(build.path(home))) as con:
        con.execute("INSERT INTO marts.buyers VALUES (99)")
    with pytest.raises(NotReleasedError, match="changed since its checks"):
        publish(home, build, now=NOW)


def test_published_generation_is_read_only_and_private(home: Home) -> None:
    build = make_build(home)
    assert put_in_force(home, build)
    current = published(home)
    assert current is not None
    assert (current.generation, current.as_of, current.ledger_seq) == (build.generation, AS_OF, 7)
    assert not list(home.building.iterdir())
    with connect_published(home) as con:
        assert con.execute("SELECT count(*) FROM marts.buyers").fetchall() == [(3,)]
        with pytest.raises(duckdb.InvalidInputException):
            con.execute("DELETE FROM marts.buyers")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_publish_interrupted_leaves_the_old_generation_whole(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    old, new = make_build(home), make_build(home, as_of=AS_OF + timedelta(days=1), people=5)
    put_in_force(home, old)
    release(home, new, GOOD)
    steps = iter(range(1, 4))

    def dying(real: object) -> object:
        def call(*arguments: object) -> None:
            if next(steps) == step:
                raise KeyboardInterrupt
            real(*arguments)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "replace", dying(publishing.replace))
        patch.setattr(publishing, "write_json", dying(publishing.write_json))
        with pytest.raises(KeyboardInterrupt):
            publish(home, new, now=NOW)
    current = published(home)
    assert current is not None
    assert current.generation == old.generation
    with connect_published(home) as con:
        assert con.execute("SELECT count(*) FROM marts.buyers").fetchall() == [(3,)]
    again = make_build(home, as_of=new.as_of, people=5)  # the next run succeeds, with the same rows
    assert put_in_force(home, again)
    assert published(home).generation == new.generation  # type: ignore[union-attr]


@pytest.mark.fault("B11", "H10")
@pytest.mark.parametrize("change", [{"as_of": AS_OF - timedelta(days=1)}, {"seq": 6}])
def test_older_day_or_older_ledger_is_kept_as_evidence_only(home: Home, change: dict[str, object]) -> None:
    newest = make_build(home)
    put_in_force(home, newest)
    older = make_build(home, **change)  # type: ignore[arg-type]
    assert not put_in_force(home, older)
    assert published(home).generation == newest.generation  # type: ignore[union-attr]
    assert older.file(home).parent == home.evidence / older.generation
    assert not list(home.building.iterdir())


def test_t_ahead_of_the_clock_is_never_published(tmp_path: Path) -> None:
    """Every honest build after it would be older, and so never published (H7)."""
    home = Home.open(tmp_path / "company")
    build = make_build(home, as_of=NOW + timedelta(days=1))
    release(home, build, GOOD)
    with pytest.raises(NotReleasedError, match="ahead of the clock"):
        publish(home, build, now=NOW)
    assert published(home) is None
    assert publish(home, build, now=NOW + timedelta(days=1))


def test_publishing_a_generation_again_changes_nothing(home: Home) -> None:
    put_in_force(home, make_build(home))
    before, inode = home.published.read_bytes(), warehouse_file(home, make_build(home).generation).stat().st_ino
    build = make_build(home)
    release(home, build, GOOD)
    assert publish(home, build, now=NOW + timedelta(days=1))
    assert home.published.read_bytes() == before
    assert warehouse_file(home, build.generation).stat().st_ino == inode
    assert publish(home, build, now=NOW)  # a retried step finds it in force


def test_a_damaged_published_file_is_replaced(home: Home) -> None:
    build = make_build(home)
    put_in_force(home, build)
    warehouse_file(home, build.generation).write_bytes(b"damaged")
    assert put_in_force(home, make_build(home))
    with connect_published(home) as con:
        assert con.execute("SELECT count(*) FROM marts.buyers").fetchall() == [(3,)]


def test_old_generations_are_unlinked(home: Home) -> None:
    builds = [make_build(home, as_of=AS_OF + timedelta(days=day)) for day in range(4)]
    for build in builds:
        put_in_force(home, build, kept=2)
    assert {path.stem for path in home.warehouse.glob("*.duckdb")} == {b.generation for b in builds[2:]}
    assert len(list(home.warehouse.glob("*.release.json"))) == 2


@pytest.mark.parametrize("lost", ["pointer", "file", "receipt"])
def test_damaged_publication_is_an_error_not_an_empty_answer(home: Home, lost: str) -> None:
    build = make_build(home)
    put_in_force(home, build)
    if lost == "pointer":
        home.published.write_text("{")
    else:
        suffix = {"file": "duckdb", "receipt": "release.json"}[lost]
        (home.warehouse / f"{build.generation}.{suffix}").unlink()
    with pytest.raises(HomeError):
        published(home)
    older = make_build(home, as_of=AS_OF - timedelta(days=1))
    assert not put_in_force(home, older)  # damage opens no way back (H10)
    assert put_in_force(home, make_build(home))
    found = published(home)
    assert found is not None
    assert found.generation == build.generation


def test_build_note_is_found_again_and_a_changed_one_refused(home: Home) -> None:
    build = make_build(home)
    build.save(home)
    assert Build.load(home) == build
    note = home.tmp / "build.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "policy_hash": "other"}))
    with pytest.raises(AssentError, match="no build is in progress"):
        Build.load(home)


def test_every_input_changes_the_name_of_the_generation(home: Home) -> None:
    build = make_build(home)
    others = [dataclasses.replace(build, **{f.name: "x"}) for f in dataclasses.fields(build) if f.type == "str"]
    others += [dataclasses.replace(build, as_of=NOW), dataclasses.replace(build, ledger_seq=8)]
    assert len({build.generation, *(other.generation for other in others)}) == 9


def _content(*statements: str) -> str:
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA marts; CREATE SCHEMA governance; CREATE SCHEMA intermediate")
        for statement in statements:
            con.execute(statement)
        return hash_tables(con)


def test_content_hash_sees_rows_and_nothing_of_the_build() -> None:
    rows = "FROM (VALUES ('b', 0.3::DOUBLE, 'g1'), ('a', NULL, 'g1')) AS v(k, n, generation)"
    one = _content(f"CREATE TABLE marts.m AS SELECT k, n, generation {rows}")
    assert one == _content(
        "CREATE TABLE intermediate.i AS SELECT 1 AS x",
        f"CREATE TABLE marts.m AS SELECT 'g2' AS generation, n + 1e-12 AS n, k {rows} ORDER BY k",
    )
    assert one != _content(f"CREATE TABLE marts.m AS SELECT k, n + 0.1 AS n {rows}")
    assert one != _content(f"CREATE TABLE marts.m AS SELECT k, coalesce(n, 0) AS n {rows}")
    assert one != _content(f"CREATE TABLE marts.m AS SELECT k, n {rows} UNION ALL SELECT 'a', NULL")


def test_content_hash_is_found_before_and_after_publication(home: Home) -> None:
    build = make_build(home)
    before = content_hash(home, build.generation)
    put_in_force(home, build)
    assert content_hash(home, build.generation) == before


def test_staging_an_empty_home_gives_every_declared_table_typed_and_empty(home: Home) -> None:
    policy = load_policy(SHIPPED)
    build = stage_inputs(home, policy, Keys.open(home), as_of=AS_OF, policy_dir=SHIPPED)
    assert Build.load(home) == build
    assert build.path(home).stat().st_mode & 0o077 == 0
    resolved_later = {"identifiers", "denial_reach"}
    with duckdb.connect(str(build.path(home)), read_only=True) as con:
        for schema, tables in relations(policy).items():
            for table, columns in tables.items():
                if table not in resolved_later:
                    described = con.execute(f'DESCRIBE {schema}."{table}"').fetchall()
                    assert {row[0]: row[1] for row in described} == columns, f"{schema}.{table}"
        assert con.execute("SELECT generation, as_of FROM meta.builds").fetchall() == [
            (build.generation, AS_OF.replace(tzinfo=None))
        ]
        assert con.execute("SELECT count(DISTINCT key) FROM identity.purpose_keys").fetchall() == [
            (len(policy.purposes.purposes),)
        ]
        assert con.execute("SELECT segment FROM policy.segments WHERE reads_sensitive").fetchall() == [("follow_up",)]


def test_delivery_after_t_does_not_change_the_build_for_t(home: Home) -> None:
    policy, keys = load_policy(SHIPPED), Keys.open(home)

    def stage(at: datetime) -> Build:
        return stage_inputs(home, policy, keys, as_of=at, policy_dir=SHIPPED)

    first = stage(AS_OF)
    folder = home.evidence / "deliveries"
    folder.mkdir()
    delivered_at = pa.array([NOW.replace(tzinfo=None)], pa.timestamp("us"))
    table = pa.table({"token": ["t1"], "destination": ["sms_gateway"], "delivered_at": delivered_at})
    pq.write_table(table, folder / "one.parquet")
    assert stage(AS_OF) == first
    later = stage(AS_OF + timedelta(days=1))
    assert later.activity_hash != first.activity_hash
    with duckdb.connect(str(later.path(home)), read_only=True) as con:
        assert con.execute("SELECT token, destination FROM activity.deliveries").fetchall() == [("t1", "sms_gateway")]


def _dbt_left(folder: Path, results: dict[str, str]) -> tuple[Path, Path]:
    wanted = ("model.assent.buyers", "test.assent.unique_buyers.1a", "test.assent.late.2b")
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"nodes": {name: {"config": {}} for name in wanted}}))
    rows = [
        {"unique_id": name, "status": status, "failures": 3 if status in ("fail", "warn") else None, "message": "138"}
        for name, status in results.items()
    ]
    (folder / "run_results.json").write_text(json.dumps({"results": rows}))
    return folder, manifest


def test_dbt_verdicts_carry_counts_and_no_message(tmp_path: Path) -> None:
    names = ("model.assent.buyers", "test.assent.unique_buyers.1a", "test.assent.late.2b")
    checks = dbt_checks(*_dbt_left(tmp_path, dict(zip(names, ("success", "fail", "warn"), strict=True))))
    assert totals(checks) == {"passed": 2, "failed": 2}
    assert [(check.name, check.detail) for check in checks if check.blocks] == [("unique_buyers", "3 rows")]
    assert "138" not in repr(checks)


def test_model_or_test_that_did_not_run_fails(tmp_path: Path) -> None:
    checks = dbt_checks(*_dbt_left(tmp_path, {"model.assent.buyers": "success"}))
    assert [(check.name, check.detail) for check in checks if check.blocks] == [
        ("every model and test ran", "2 did not run")
    ]
    checks = dbt_checks(*_dbt_left(tmp_path, {"model.assent.buyers": "skipped"}))
    assert "buyers: is built" in {check.name for check in checks if check.blocks}


def test_dbt_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssentError, match="dbt left no results"):
        dbt_checks(tmp_path, tmp_path / "manifest.json")
