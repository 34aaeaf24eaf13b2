"""The great-expectations adapter: what it refuses, and that no value ever comes out of it."""

from __future__ import annotations

import ast
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from orchestration.evidence import expectations
from orchestration.policy.schema import Destination, Segment
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.publish import connect_published
from tests.generation_fixture import AS_OF, PUSH, SMS, World, make_world

CANARY = "canary@example.invalid"
KEY = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def failures(results: list[Any], subject: str = "") -> set[str]:
    return {r.name.split(": ")[1] for r in results if not r.passed and r.name.startswith(subject)}


def mart(world: World, rows: list[tuple[Any, ...]], columns: str) -> set[str]:
    """The failed sentences of the SMS segment's mart, made of `rows`."""
    con = connect(world.home)
    con.execute("create schema marts")
    con.execute(f"create table marts.{SMS} ({columns})")
    if rows:
        con.executemany(f"insert into marts.{SMS} values ({', '.join('?' * len(rows[0]))})", rows)
    results = expectations.check_marts(con, world.policy, as_of=AS_OF)
    con.close()
    assert not any(CANARY in repr(result) for result in results)
    return failures(results, f"{SMS}:")


COLUMNS = "audience_key VARCHAR, admitted_by BIGINT, notice VARCHAR, consent_until TIMESTAMP, days_since_consult BIGINT"
UNTIL = (AS_OF + timedelta(days=3)).replace(tzinfo=None)
GOOD = (KEY, 4, "privacy@2", UNTIL, 3)


def test_generation_passes_every_suite(world: World) -> None:
    con = connect_published(world.home)
    results = expectations.check_marts(con, world.policy, as_of=AS_OF)
    con.close()
    assert failures(results) == set()
    assert len(results) == 5 * len(world.policy.segments.segments)


def test_good_empty_and_endless_marts_pass(world: World) -> None:
    assert mart(world, [GOOD], COLUMNS) == set()
    assert mart(world, [], COLUMNS) == set()
    assert mart(world, [(KEY, None, None, "infinity", 0)], COLUMNS) == set()


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ((None, *GOOD[1:]), "every_person_appears_once_under_a_key"),
        (("person-1", *GOOD[1:]), "every_person_appears_once_under_a_key"),
        ((KEY, 4, CANARY, UNTIL, 3), "no_column_holds_a_direct_identifier"),
        ((KEY, 4, "+8613800138000", UNTIL, 3), "no_column_holds_a_direct_identifier"),
        ((KEY, 4, "138****0000", UNTIL, 3), "no_column_holds_a_direct_identifier"),
        ((*GOOD[:4], 8), "nothing_is_past_its_retention"),  # the segment looks back seven days
        ((*GOOD[:4], -1), "nothing_is_past_its_retention"),
        ((KEY, 4, "privacy@2", AS_OF.replace(tzinfo=None), 3), "nothing_is_past_its_retention"),
    ],
)
def test_bad_row_in_a_mart_fails_its_sentence(world: World, row: tuple[Any, ...], sentence: str) -> None:
    assert sentence in mart(world, [("f" * 32, *GOOD[1:]), row], COLUMNS)


def test_person_twice_in_a_mart_fails(world: World) -> None:
    assert mart(world, [GOOD, GOOD], COLUMNS) == {"every_person_appears_once_under_a_key"}


def test_column_beyond_the_contract_or_the_purpose_fails(world: World) -> None:
    extra = mart(world, [(*GOOD, "x")], f"{COLUMNS}, person_key VARCHAR")
    assert extra == {"columns_are_those_of_its_contract", "columns_are_those_its_purpose_shows"}
    missing = mart(world, [GOOD[:4]], COLUMNS.rpartition(",")[0])
    assert "columns_are_those_of_its_contract" in missing
    assert "nothing_is_past_its_retention" in missing, "what cannot be evaluated has failed"


def test_column_that_the_purpose_does_not_show_fails_though_declared(world: World) -> None:
    hiding = tuple(
        p.model_copy(update={"shows": ()} if p.name == "sms_marketing" else {}) for p in world.policy.purposes.purposes
    )
    policy = world.policy.model_copy(update={"purposes": world.policy.purposes.model_copy(update={"purposes": hiding})})
    con = connect_published(world.home)
    found = failures(expectations.check_marts(con, policy, as_of=AS_OF), f"{SMS}:")
    con.close()
    assert found == {"columns_are_those_its_purpose_shows"}


def test_segment_without_a_mart_fails(world: World) -> None:
    con = duckdb.connect()
    found = failures(expectations.check_marts(con, world.policy, as_of=AS_OF))
    assert found == {"columns_are_those_of_its_contract"}


def pair(world: World, segment: str, destination: str) -> tuple[Segment, Destination]:
    return (
        next(s for s in world.policy.segments.segments if s.name == segment),
        next(d for d in world.policy.destinations.destinations if d.name == destination),
    )


def sms_file(**changed: list[str | None]) -> pa.Table:
    columns: dict[str, list[str | None]] = {
        "contact": ["8613800138000", "8613800138001"],
        "audience_key": [KEY, "f" * 32],
        "segment": [SMS, SMS],
        "consent_until": ["2027-01-01T00:00:00Z"] * 2,
        "admitted_by": ["4", "5"],
        "notice": ["privacy@2"] * 2,
    }
    return pa.table({**columns, **changed})


def export_failures(world: World, table: pa.Table, segment: str = SMS, destination: str = "sms_gateway") -> set[str]:
    results = expectations.check_export(table, world.policy, *pair(world, segment, destination))
    assert not any(CANARY in repr(result) for result in results)
    return failures(results)


def test_good_export_file_passes(world: World) -> None:
    assert export_failures(world, sms_file()) == set()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"contact": ["+8613800138000", "8613800138001"]}, "every_contact_has_the_declared_form"),
        ({"contact": ["+8613800138000", "8613800138001"]}, "no_cell_starts_a_formula"),
        ({"contact": ["8613800138000", "8613800138000"]}, "every_contact_appears_once"),
        ({"contact": [None, "8613800138000"]}, "every_contact_appears_once"),
        ({"contact": [CANARY, "8613800138000"]}, "every_contact_has_the_declared_form"),
        ({"audience_key": [KEY, KEY]}, "every_audience_key_appears_once"),
        ({"notice": [CANARY, "privacy@2"]}, "only_the_contact_column_identifies"),
        ({"notice": ["=1+1", "privacy@2"]}, "no_cell_starts_a_formula"),
        ({"notice": ["＝1+1", "privacy@2"]}, "no_cell_starts_a_formula"),
        ({"notice": ["\tx", "privacy@2"]}, "no_cell_starts_a_formula"),
        ({"extra": ["a", "b"]}, "columns_are_the_policys_in_order"),
    ],
)
def test_bad_export_file_fails_its_sentence(world: World, changed: dict[str, Any], sentence: str) -> None:
    assert sentence in export_failures(world, sms_file(**changed))


def test_small_file_fails(world: World) -> None:
    assert "rows_are_within_its_bounds" in export_failures(world, sms_file().slice(0, 1))


def test_typed_file_may_hold_any_token(world: World) -> None:
    columns = {"contact": ["=a", "+b"], "audience_key": [KEY, "f" * 32], "segment": [PUSH] * 2}
    assert export_failures(world, pa.table(columns), PUSH, "push_service") == set()


@pytest.mark.fault("E5")
def test_result_format_is_forced_in_one_place() -> None:
    """Any other format writes personal values into results; nothing else in the package may even call it."""
    root = Path(expectations.__file__).parents[1]
    using = {path for path in root.rglob("*.py") if "great_expectations" in _imports(path)}
    assert using == {Path(expectations.__file__)}
    tree = ast.parse(Path(expectations.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    validations = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "validate"]
    formats = [ast.unparse(keyword.value) for call in validations for keyword in call.keywords]
    assert formats == ["RESULT_FORMAT"]
    assert expectations.RESULT_FORMAT == "BOOLEAN_ONLY"


def _imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {(node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.fault("E5")
def test_nothing_is_written_and_nothing_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    export_failures(world, sms_file(notice=[CANARY, CANARY]))
    assert not list(tmp_path.rglob("*")), "no store, no Data Docs"
    told = capfd.readouterr()
    assert CANARY not in told.out + told.err
