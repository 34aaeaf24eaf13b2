"""The inventory against a really built home: what is there is declared, with what ends it, and every gap is found."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.policy.loader import load_policy
from orchestration.retention.deletions import DELETIONS
from orchestration.retention.discover import columns_of, discover
from orchestration.retention.erasure import Erasure
from orchestration.retention.places import ERASURE, RETENTION, Found, Place, inventory, uncovered
from tests.homes import copy_home
from tests.pipeline.conftest import Finished

HEX = re.compile(rb"[0-9a-f]{32}")
COLUMNS = {
    "parquet": ("lake/links/x.parquet", "is_unlink"),
    "sqlite": ("vault.sqlite", "sealed"),
    "duckdb": ("warehouse/x.duckdb", "mask_kept"),
}


@pytest.fixture(scope="module")
def home(built: tuple[Path, Finished], tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.open(copy_home(built[0], tmp_path_factory.mktemp("places") / "home"), create=False)


@pytest.fixture(scope="module")
def places() -> list[Place]:
    return inventory(load_policy())


def anchor_of(home: Home) -> Path:
    return home.root.with_name(f"{home.root.name}.anchor")


@pytest.fixture(scope="module")
def found(home: Home) -> list[Found]:
    return list(discover(home, anchor=anchor_of(home)))


@pytest.mark.fault("F2", "F4")
def test_everything_in_a_built_home_is_declared_with_its_rules(found: list[Found], places: list[Place]) -> None:
    assert uncovered(found, places) == []
    tables = {(one.path.split("/")[0], one.table) for one in found if one.table}
    assert len(found) > 3000 and len(tables) > 80
    for path in ("lake/", "quarantine/", "archive/", "vault.sqlite", "ledger.sqlite", "keys/keys.sqlite", "warehouse/",
                 "evidence/deliveries/", "outbox/", "dagster/history/", "tmp/dbt/", "anchor/"):  # fmt: skip
        assert any(one.path.startswith(path) for one in found), path


@pytest.mark.fault("F2")
def test_every_dropped_rule_is_caught(found: list[Found], places: list[Place]) -> None:
    """Each place of people without its retention, without its erasure, and not declared at all."""
    mutants = 0
    for number, place in enumerate(places):
        if place.holds != "nothing":
            for rule in ("retention", "erasure"):
                broken = [*places[:number], replace(place, **{rule: None}), *places[number + 1 :]]
                assert f"{place.path}: no {rule} rule" in uncovered([], broken)
                broken[number] = replace(place, **{rule: "never_heard_of"})
                assert uncovered([], broken), (place.path, rule)
                mutants += 2
        of_it = [one for one in found if place.pattern.fullmatch(one.path)]
        if of_it:
            without = [*places[:number], *places[number + 1 :]]
            assert len(uncovered(of_it, without)) >= 1, place.path
            assert len(uncovered(of_it, [*places, place])) >= 1, place.path
            mutants += 2
    assert mutants > 150


@pytest.mark.fault("F2")
def test_every_dropped_table_and_column_is_caught(found: list[Found], places: list[Place]) -> None:
    """Of each table that is there, the declaration is taken away, and that of each of its columns."""
    columns = sorted({(p.path, str(f.table), str(f.column)) for f in found if f.table for p in places
                      if p.pattern.fullmatch(f.path)})  # fmt: skip
    by_place = {place.path: place for place in places}
    seen = {(p.path, str(f.table)): f for f in found if f.table for p in places if p.pattern.fullmatch(f.path)}
    for (path, table), one in seen.items():
        tables = {name: names for name, names in (by_place[path].tables or {}).items() if name != table}
        assert uncovered([one], [replace(by_place[path], tables=tables)]), (path, table)
    for path, table, column in columns:
        one = Found(seen[path, table].path, table, column)
        tables = dict(by_place[path].tables or {})
        tables[table] = tables[table] - {column}
        assert uncovered([one], [replace(by_place[path], tables=tables)]), (path, table, column)
    assert len(columns) > 500


@contextmanager
def changed(home: Home, name: str) -> Iterator[Path]:
    """A file of the home, put back afterwards."""
    path = home.root / name
    with_copy = path.is_file()
    aside = home.root.parent / "aside"
    if with_copy:
        shutil.copy2(path, aside)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        path.unlink()
        if with_copy:
            shutil.move(aside, path)


def problems_of(home: Home, path: Path, places: list[Place]) -> list[str]:
    name = path.relative_to(home.root).as_posix()
    return uncovered([Found(name), *(Found(name, *column) for column in columns_of(path))], places)


@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    "name",
    ["people.csv", "lake/notes.txt", "evidence/people.parquet", "evidence/tokens/1.parquet", "outbox/list.xlsx",
     "warehouse/copy.db", "keys/old_keys.sqlite", "vault.sqlite.bak", "quarantine/plain.jsonl", "tmp/left.parquet",
     "dagster/frames.pickle", "anchor/notes.txt", "lake/web/2026-01-01/x.parquet", "core"],
)  # fmt: skip
def test_one_more_file_is_caught(home: Home, places: list[Place], name: str) -> None:
    with changed(home, name) as path:
        path.write_bytes(b"x")
        assert problems_of(home, path, places) != []


def one_file(home: Home, pattern: str) -> str:
    return sorted(home.root.glob(pattern))[0].relative_to(home.root).as_posix()


@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    "pattern",
    ["lake/web/*/*.parquet", "lake/links/*", "quarantine/*/*", "evidence/deliveries/*", "warehouse/ledger/*.parquet"],
)
def test_one_more_column_of_a_file_is_caught(home: Home, places: list[Place], pattern: str) -> None:
    with changed(home, one_file(home, pattern)) as path:
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.append_column("phone", pa.array(["1"] * table.num_rows)), path)
        assert any("phone" in problem for problem in problems_of(home, path, places))


@pytest.mark.fault("F2")
@pytest.mark.parametrize("name", ["vault.sqlite", "keys/keys.sqlite", "ledger.sqlite", "dagster/history/runs.db"])
@pytest.mark.parametrize("change", ["CREATE TABLE people (phone TEXT)", "ALTER TABLE {} ADD COLUMN phone TEXT"])
def test_one_more_table_or_column_of_a_database_is_caught(
    home: Home, places: list[Place], name: str, change: str
) -> None:
    with changed(home, name) as path:
        with closing(sqlite3.connect(path)) as con:
            table = next(t for t in ("contacts", "subjects", "details", "runs") if con.execute(
                "SELECT 1 FROM sqlite_master WHERE name = ?", (t,)).fetchone())  # fmt: skip
            con.execute("PRAGMA journal_mode = DELETE")
            con.execute(change.format(table))
        assert any("phone" in problem or "people" in problem for problem in problems_of(home, path, places))


@pytest.mark.fault("F2", "F4")
@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE intermediate.int_everyone AS SELECT 'x' AS token",
        "CREATE TABLE marts.everyone AS SELECT 'x' AS audience_key",
        "CREATE SCHEMA snapshots; CREATE TABLE snapshots.people AS SELECT 'x' AS person_key",
        "CREATE VIEW governance.everyone AS SELECT 'x' AS person_key",
        "ALTER TABLE governance.coverage ADD COLUMN person_key VARCHAR",
        "ALTER TABLE marts.follow_up ADD COLUMN phone VARCHAR",
    ],
)
def test_one_more_model_or_column_is_caught(home: Home, places: list[Place], change: str) -> None:
    """A model, a snapshot or a column of one that nobody declared."""
    with changed(home, one_file(home, "warehouse/*.duckdb")) as path:
        with duckdb.connect(str(path)) as con:
            con.execute(change)
        assert problems_of(home, path, places) != []


def test_rules_are_carried_out_by_somebody() -> None:
    """A rule that nothing carries out would cover a place in words only."""
    carried = {dataset for datasets in RETENTION.values() if isinstance(datasets, tuple) for dataset in datasets}
    assert carried | {"backups"} == set(DELETIONS)
    names = set(re.findall(r'"(\w+)": self\.\w+,', Path(str(Erasure.steps.fget.__code__.co_filename)).read_text()))  # type: ignore[attr-defined]
    assert set(ERASURE) - {"tombstone"} <= names


def known_pseudonyms(home: Home) -> set[bytes]:
    """Every token, reference and key of people that the home knows."""
    with SubjectRegistry(home, Keys.open(home)) as registry:
        subjects = registry.mapping_arrow()
    values = {*subjects["token"].to_pylist(), *subjects["subject_ref"].to_pylist()}
    with duckdb.connect(str(home.root / one_file(home, "warehouse/*.duckdb")), read_only=True) as con:
        for query in ("select person_key from intermediate.int_units", "select token from identity.identifiers",
                      "select audience_key from intermediate.int_audience_keys",
                      "select touchpoint_key from intermediate.int_touchpoints_masked"):  # fmt: skip
            values |= {value for (value,) in con.execute(query).fetchall()}
    return {str(value).encode() for value in values if value}


def test_what_is_declared_to_hold_nothing_holds_no_token(home: Home, places: list[Place], found: list[Found]) -> None:
    known = known_pseudonyms(home)
    assert len(known) > 3000
    looked = 0
    names = {one.path for one in found if not one.path.startswith("anchor/")}
    for name in sorted(n for n in names if not n.endswith(("-shm", "-wal", "-journal"))):  # they come and go
        (place,) = [p for p in places if p.pattern.fullmatch(name)]
        held = known & set(HEX.findall((home.root / name).read_bytes()))
        if place.holds == "nothing":
            assert not held, name
            looked += 1
        elif name.startswith("keys/keys.sqlite") and not name.endswith("-journal"):
            assert held  # the control: the search does find them
    assert looked > 300


def test_columns_that_are_no_pseudonyms_hold_none(home: Home, places: list[Place]) -> None:
    """In the warehouse and in every Parquet file: what is not marked `*` is no token. The lake's columns are marked by
    their names."""
    known = pa.table({"value": [value.decode() for value in sorted(known_pseudonyms(home))]})
    warehouse = next(place for place in places if place.path == "warehouse/*.duckdb")
    marked = 0
    with duckdb.connect(str(home.root / one_file(home, "warehouse/*.duckdb")), read_only=True) as con:
        con.register("known", known)
        query = (
            "select schema_name || '.' || table_name, column_name from duckdb_columns() where not internal "
            "and data_type = 'VARCHAR' and schema_name not in ('lake', 'staging', 'marts') and table_name in "
            "(select table_name from duckdb_tables()) order by all"
        )
        for table, column in con.execute(query).fetchall():
            held = con.execute(f'select count(*) from {table} semi join known on "{column}" = value').fetchall()[0][0]
            is_marked = (table, column) in warehouse.pseudonyms
            assert is_marked or not held, f"{table}.{column}"
            marked += is_marked and held > 0
    assert marked > 20
