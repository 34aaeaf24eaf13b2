"""Replaying, without dbt: what was archived, what is left of it and why, and which rows differ by which cause."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.errors import VerifyError
from orchestration.evidence.compare import TableDifference, compare
from orchestration.evidence.removed import RemovedFile, note_removed, notes_of_removal
from orchestration.evidence.survey import Survey, survey
from orchestration.home import Home
from orchestration.identity.vault import CONTACT_POINTS
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse import archive
from orchestration.warehouse.build import Build
from orchestration.warehouse.contact_log import contact_points_of, note_contact_points
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.models import Models, PreparedModels
from orchestration.warehouse.prepare import project_files
from orchestration.warehouse.sensitivity import sensitive_segments, stages_read

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LATELY, LONG_AGO = date(2026, 5, 20), date(2023, 1, 1)
POLICIES = [load_policy(SHIPPED)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def lake_file(home: Home, day: date, rows: int = 3, name: str = "a") -> str:
    path = home.lake / "web" / f"day={day}" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"n": list(range(rows))}), path)
    return path.relative_to(home.root).as_posix()


def row(home: Home, path: str, kind: str = "touchpoints") -> dict[str, object]:
    there = home.root / path
    return {
        "kind": kind, "source": "web", "feed": "tag", "batch": "b", "day": archive.day_of(path), "is_complete": True,
        "path": path, "rows": pq.read_metadata(there).num_rows, "bytes": there.stat().st_size,
        "modified_ns": there.stat().st_mtime_ns, "sha256": sha256(there),
    }  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def look(home: Home, *paths: str, then: Callable[[], object], kind: str = "touchpoints") -> Survey:
    files = pa.Table.from_pylist([row(home, path, kind) for path in paths], schema=archive.FILES)
    then()
    return survey(home, files, POLICIES, now=NOW)


def nothing() -> None:
    """Nothing happens to the files."""


def test_whole_files_are_not_missing(home: Home) -> None:
    found = look(home, lake_file(home, LATELY), then=nothing)
    assert found.missing == () and found.left.num_rows == found.files == 1


def test_file_that_goes_without_a_note_is_unexplained(home: Home) -> None:
    path = lake_file(home, LATELY)
    (missing,) = look(home, path, then=(home.root / path).unlink).missing
    assert (missing.state, missing.cause, missing.rows_gone, missing.is_unexplained) == ("gone", "unexplained", 3, True)


def test_file_that_was_edited_is_named_and_not_read(home: Home) -> None:
    path = lake_file(home, LATELY)
    found = look(home, path, then=lambda: lake_file(home, LATELY, rows=4))
    assert [(f.path, f.state, f.cause) for f in found.missing] == [(path, "changed", "unexplained")]
    assert found.left["path"].to_pylist() == [None], "its batch was complete all the same"


@pytest.mark.parametrize("cause", ["erasure", "retention"])
def test_noted_removal_is_told_by_its_cause(home: Home, cause: str) -> None:
    path = lake_file(home, LATELY)

    def remove() -> None:
        note_removed(home, cause, [RemovedFile(path=path, rows=3)], now=NOW)  # type: ignore[arg-type]
        (home.root / path).unlink()

    found = look(home, path, then=remove)
    assert [(f.state, f.cause) for f in found.missing] == [("gone", cause)]
    assert found.rows_gone() == {"touchpoints": {cause: 3}}


def test_rewritten_file_is_followed_to_what_is_left_of_it(home: Home) -> None:
    """Settled under another name, then rewritten in place by an erasure: two notes, one file."""
    path = lake_file(home, LATELY, rows=5)

    def settle_then_erase() -> None:
        settled = lake_file(home, LATELY, rows=4, name="settled")
        (home.root / path).unlink()
        part = RemovedFile(path=path, rows=1, replaced_by=settled, sha256=sha256(home.root / settled))
        note_removed(home, "retention", [part], now=NOW)
        lake_file(home, LATELY, rows=2, name="settled")
        part = RemovedFile(path=settled, rows=2, replaced_by=settled, sha256=sha256(home.root / settled))
        note_removed(home, "erasure", [part], now=NOW + timedelta(hours=1))

    found = look(home, path, then=settle_then_erase)
    assert [(f.state, f.cause, f.rows_gone) for f in found.missing] == [("rewritten", "erasure", 3)]
    assert found.left["path"].to_pylist() == [f"lake/web/day={LATELY}/settled.parquet"]


def test_noted_rewrite_with_other_bytes_is_unexplained(home: Home) -> None:
    path = lake_file(home, LATELY)

    def rewrite() -> None:
        note_removed(home, "erasure", [RemovedFile(path=path, rows=1, replaced_by=path, sha256="0" * 64)], now=NOW)
        lake_file(home, LATELY, rows=2)

    assert look(home, path, then=rewrite).missing[0].is_unexplained


def test_note_of_a_file_that_is_still_whole_explains_nothing(home: Home) -> None:
    path = lake_file(home, LATELY)
    part = RemovedFile(path=path, rows=3)
    found = look(home, path, then=lambda: note_removed(home, "erasure", [part], now=NOW))
    assert found.missing == ()


def test_day_past_every_retention_needs_no_note(home: Home) -> None:
    path = lake_file(home, LONG_AGO)
    (missing,) = look(home, path, then=(home.root / path).unlink).missing
    assert missing.cause == "retention"


def test_day_past_retention_under_legal_hold_does(home: Home) -> None:
    path = lake_file(home, LONG_AGO)
    held = POLICIES[0].model_copy(
        update={"retention": POLICIES[0].retention.model_copy(update={"legal_holds": ("web",)})}
    )
    files = pa.Table.from_pylist([row(home, path)], schema=archive.FILES)
    (home.root / path).unlink()
    assert survey(home, files, [held], now=NOW).missing[0].is_unexplained


def test_delivery_log_is_never_past_retention(home: Home) -> None:
    path = lake_file(home, LONG_AGO)
    (missing,) = look(home, path, then=(home.root / path).unlink, kind="deliveries").missing
    assert missing.is_unexplained


def test_damaged_note_is_refused(home: Home) -> None:
    path = note_removed(home, "erasure", [RemovedFile(path="lake/x", rows=1)], now=NOW)
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("{}")
    with pytest.raises(VerifyError, match="damaged"):
        notes_of_removal(home)


def points(*tokens: str) -> pa.Table:
    return pa.table([tokens, ["phone"] * len(tokens), ["e164"] * len(tokens)], schema=CONTACT_POINTS)


def test_contact_points_of_every_build_are_told_again(home: Home) -> None:
    nights = [points("a", "b"), points("a", "b"), points("b", "c"), points("a", "b", "c")]
    with connect(home) as con:
        notes = [note_contact_points(con, home, night) for night in nights]
        assert notes == [1, 1, 2, 3], "a night without a change writes nothing"
        for note, night in zip(notes, nights, strict=True):
            assert contact_points_of(con, home, note).equals(night)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (home.evidence / "contact_points").iterdir())


def archived(home: Home) -> tuple[Build, pa.Table]:
    build = Build(NOW, "p", "h", 1, "l", "", "k", "c")
    path = lake_file(home, LATELY)
    files = pa.Table.from_pylist([row(home, path)], schema=archive.FILES)
    archive.write_archive(
        home, build, files, project="p", policy_sha256="", vocabulary_sha256="", contact_note=0, contact_points=0,
        records={"links": 0},
    )  # fmt: skip
    archive.keep(home, build)
    return build, files


def test_archive_is_kept_beside_the_evidence_and_read_back(home: Home) -> None:
    build, files = archived(home)
    inputs, found = archive.load(home, build.generation)
    assert inputs.build == build and found.equals(files)
    assert not list(home.building.iterdir())
    place = home.evidence / build.generation
    assert all((place / name).stat().st_mode & 0o077 == 0 for name in archive.NAMES)


@pytest.mark.parametrize("name", archive.NAMES)
def test_archive_that_was_changed_is_refused(home: Home, name: str) -> None:
    build, _ = archived(home)
    path = home.evidence / build.generation / name
    if name.endswith(".json"):
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"ledger_seq": 2}))
    else:
        pq.write_table(archive.FILES.empty_table(), path)
    with pytest.raises(VerifyError, match="changed"):
        archive.load(home, build.generation)


def test_generation_without_an_archive_is_refused(home: Home) -> None:
    with pytest.raises(VerifyError, match="not archived"):
        archive.load(home, "0" * 20)


PEOPLE = {"ann": 1, "bob": 2, "cat": 3, "dan": 4}  # each with a touchpoint on a day of its own: the n-th of May


def generation(home: Home, stem: str, *, without: tuple[str, ...] = (), sql: str = "") -> Path:
    """A file with the tables that a comparison reads. `without`: people whose touchpoint is not there any more."""
    file = home.building / f"{stem}.duckdb"
    con = duckdb.connect(str(file))
    for schema in ("policy", "intermediate", "identity", "ledger", "marts", "governance"):
        con.execute(f"create schema {schema}")
    con.execute("create table policy.settings as select 'Asia/Shanghai' as zone")
    con.execute(
        "create table identity.identifiers (controller text, token text, identifier_id bigint, group_id bigint)"
    )
    con.execute("create table identity.denial_reach (identifier_id bigint, group_id bigint)")
    con.execute("create table identity.links (controller text, token_a text, token_b text, method text, "
                "effective_at timestamp, is_unlink boolean)")  # fmt: skip
    for table in ("consent_events", "permissions", "contracts", "ages", "statuses"):
        con.execute(f"create table ledger.{table} (seq bigint, token text)")
    con.execute("create table ledger.links (seq bigint, token_a text, token_b text)")
    con.execute("create table intermediate.int_touchpoints_masked (touchpoint_key text, source text, "
                "occurred_at timestamp, identifier_id bigint, event text, item text, store text, account text, "
                "city text, tier text, amount double, birth_month bigint)")  # fmt: skip
    con.execute("create table intermediate.int_identifiers_resolved (token text, person_key text)")
    con.execute("create table intermediate.int_audience_keys (person_key text, audience_key text)")
    con.execute("create table marts.buyers (audience_key text, spent double)")
    con.execute("create table governance.coverage (source text, touchpoints bigint)")
    for name, n in PEOPLE.items():
        con.execute("insert into identity.identifiers values ('shop', ?, ?, ?)", [name, n, n])
        con.execute("insert into identity.denial_reach values (?, ?)", [n, n])
        con.execute("insert into intermediate.int_identifiers_resolved values (?, ?)", [name, f"p-{name}"])
        con.execute("insert into intermediate.int_audience_keys values (?, ?)", [f"p-{name}", f"k-{name}"])
        con.execute("insert into ledger.consent_events values (?, ?)", [n, name])
        if name not in without:
            con.execute("insert into intermediate.int_touchpoints_masked by name select ? as touchpoint_key, "
                        "'web' as source, ? as occurred_at, ? as identifier_id, 'view' as event, 'sku-1' as item",
                        [f"t{n}", datetime(2026, 5, n, 4), n])  # fmt: skip
            con.execute("insert into marts.buyers values (?, 0.1 + 0.2)", [f"k-{name}"])
    con.execute("insert into governance.coverage select 'web', count(*) from intermediate.int_touchpoints_masked")
    con.execute(sql or "select 1")
    con.close()
    return file


def found_missing(**causes: str) -> Survey:
    """What `survey` finds where the files of these people's days are gone."""
    from orchestration.evidence.survey import FoundFile

    missing = [
        FoundFile("touchpoints", "web", date(2026, 5, PEOPLE[name]), f"lake/{name}", "gone", cause, 1, None)  # type: ignore[arg-type]
        for name, cause in causes.items()
    ]
    return Survey(tuple(missing), archive.FILES.empty_table(), 4)


def compared(
    home: Home, now: Path, found: Survey | None = None, records_cause: str | None = None, sql: str = ""
) -> dict[str, TableDifference]:
    then = generation(home, "then", sql=sql)
    return compare(home, then, now, found or found_missing(), records_cause=records_cause)


def test_equal_files_do_not_differ(home: Home) -> None:
    tables = compared(home, generation(home, "now"))
    assert set(tables) == {"marts.buyers", "governance.coverage"}
    assert all(table.is_equal and table.rows_then == table.rows_now for table in tables.values())


@pytest.mark.parametrize(
    ("sql", "lost", "gained"),
    [
        ("update marts.buyers set spent = 7 where audience_key = 'k-cat'", 1, 1),
        ("delete from marts.buyers where audience_key = 'k-cat'", 0, 1),
        ("insert into marts.buyers values ('k-eve', 0.3)", 1, 0),
        ("insert into marts.buyers select * from marts.buyers where audience_key = 'k-ann'", 1, 0),  # once too often
    ],
)
def test_broken_row_is_found_and_unexplained(home: Home, sql: str, lost: int, gained: int) -> None:
    table = compared(home, generation(home, "now"), sql=sql)["marts.buyers"]
    assert table.lost == ({"unexplained": lost} if lost else {})
    assert table.gained == ({"unexplained": gained} if gained else {})


def test_broken_count_is_found(home: Home) -> None:
    table = compared(home, generation(home, "now"), sql="update governance.coverage set touchpoints = 5")
    assert table["governance.coverage"].lost == {"unexplained": 1}


def test_rows_are_explained_by_the_cause_of_their_own_person(home: Home) -> None:
    now = generation(home, "now", without=("ann", "bob", "cat"))
    tables = compared(home, now, found_missing(ann="erasure", bob="retention"))
    assert tables["marts.buyers"].lost == {"erasure": 1, "retention": 1, "unexplained": 1}, "cat's file is whole"
    assert tables["governance.coverage"].lost == {"unexplained": 1}
    every = found_missing(ann="erasure", bob="retention", cat="erasure")
    explained = compare(home, home.building / "then.duckdb", now, every, records_cause=None)
    assert explained["marts.buyers"].lost == {"erasure": 2, "retention": 1}
    assert explained["governance.coverage"].lost == {"erasure + retention": 1}


def test_broken_row_is_found_beside_explained_ones(home: Home) -> None:
    now = generation(home, "now", without=("ann",))
    broken = "update marts.buyers set spent = 9 where audience_key = 'k-dan'"
    tables = compared(home, now, found_missing(ann="erasure"), sql=broken)
    assert tables["marts.buyers"].lost == {"erasure": 1, "unexplained": 1}
    assert tables["marts.buyers"].gained == {"unexplained": 1}


def test_cell_that_a_later_minimisation_took_explains_the_rows_of_its_person(home: Home) -> None:
    """Ann's and bob's items are not there any more; only ann's file is noted as written again."""
    took = (
        "update intermediate.int_touchpoints_masked set item = null where touchpoint_key in ('t1', 't2'); "
        "delete from marts.buyers where audience_key in ('k-ann', 'k-bob')"
    )
    tables = compared(home, generation(home, "now", sql=took), found_missing(ann="retention"))
    assert tables["marts.buyers"].lost == {"retention": 1, "unexplained": 1}


def test_erasure_explains_whom_its_links_reach(home: Home) -> None:
    """Bob's record is gone, and a denial of bob's reaches cat: what changes for cat is explained, for dan not."""
    gone = (
        "delete from ledger.consent_events where token = 'bob'; "
        "delete from marts.buyers where audience_key in ('k-cat', 'k-dan')"
    )
    now = generation(home, "now", sql=gone)
    reach = "insert into identity.denial_reach values (2, 3)"
    tables = compared(home, now, records_cause="erasure", sql=reach)
    assert tables["marts.buyers"].lost == {"erasure": 1, "unexplained": 1}


def test_table_of_other_columns_differs_whole(home: Home) -> None:
    now = generation(home, "now", sql="alter table marts.buyers add column more text")
    assert compared(home, now)["marts.buyers"].lost == {"unexplained": 4}


def test_prepared_project_says_of_its_models_what_the_policy_folder_said(tmp_path: Path) -> None:
    """A replay knows the stages and the sensitivity of segments by the models of then, under their names of then."""
    policy = POLICIES[0]
    for path, content in project_files(policy, SHIPPED).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    prepared, own = PreparedModels(tmp_path), Models(SHIPPED)
    assert stages_read(policy, prepared) == stages_read(policy, own)
    assert sensitive_segments(policy, prepared) == sensitive_segments(policy, own) != frozenset()
