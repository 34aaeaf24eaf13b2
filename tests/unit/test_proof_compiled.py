"""Which compiled SQL is proved: that of this very project only, whole, and never another's or a stale one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.proof import compiled
from orchestration.proof.compiled import compiled_project, sql_hash
from orchestration.proof.project import Project, Relation
from orchestration.warehouse import dbt


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def made(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The targets that were compiled into; dbt itself is not started."""
    targets: list[Path] = []

    def compile_project(_: Home, build_file: Path, project: Path, target: Path) -> None:
        assert build_file.parent == home.building, "what dbt opens is never the generation in force"
        targets.append(target)
        note(target, project.parent.name)

    monkeypatch.setattr(compiled, "prepare", lambda home, *_: home.policies / "0123" / "dbt")
    monkeypatch.setattr(compiled, "compile_project", compile_project)
    monkeypatch.setattr(compiled, "read_project", lambda target, _: target)
    return targets


def note(target: Path, project: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    (target / dbt.PROJECT_NOTE).write_text(project)


def read(home: Home) -> Any:
    return compiled_project(home, load_policy(), SHIPPED)


def test_compiled_once_and_kept_beside_the_project(home: Home, made: list[Path]) -> None:
    kept = home.policies / "0123" / "compiled"
    assert [read(home), read(home)] == [kept, kept]
    assert made == [kept]
    assert list(home.building.iterdir()) == [], "what dbt opened is gone"


def test_sql_of_the_last_build_is_taken_where_it_is_of_this_project(home: Home, made: list[Path]) -> None:
    note(dbt.target_path(home), "0123")
    assert read(home) == dbt.target_path(home)
    assert made == []


@pytest.mark.parametrize("other", ["4567", "", "0123 "])
def test_sql_of_another_project_is_never_taken(home: Home, made: list[Path], other: str) -> None:
    note(dbt.target_path(home), other)
    note(home.policies / "0123" / "compiled", other)
    assert read(home) == home.policies / "0123" / "compiled"
    assert len(made) == 1


def test_sql_of_a_compilation_that_was_killed_is_never_taken(home: Home, made: list[Path]) -> None:
    """dbt's own files come first, the note last."""
    (home.policies / "0123" / "compiled").mkdir(parents=True)
    (home.policies / "0123" / "compiled" / "manifest.json").write_text("{}")
    read(home)
    assert len(made) == 1


@pytest.mark.parametrize("code", [0, 1])
def test_sql_of_a_build_that_failed_is_never_taken(home: Home, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What follows a model or test that fails was not compiled."""

    def run(arguments: list[str], _: object) -> subprocess.CompletedProcess[str]:
        dbt.target_path(home).mkdir(parents=True)
        return subprocess.CompletedProcess(arguments, code, "", "")

    monkeypatch.setattr(dbt, "_dbt", run)
    project = home.policies / "0123" / "dbt"
    dbt.run_build(home, home.building / "b.duckdb", project)
    assert dbt.is_compiled(dbt.target_path(home), project) == (code == 0)


def leave_behind(home: Home, name: str) -> list[Path]:
    left = [home.building / f"{name}.duckdb", home.building / f"{name}.duckdb.wal"]
    for file in left:
        file.write_bytes(b"of a run that was killed")
    return left


def test_what_a_killed_compilation_left_is_not_read(home: Home, made: list[Path]) -> None:
    left = leave_behind(home, "compile")
    with home.lock():
        compiled_project(home, load_policy(), SHIPPED)
    assert len(made) == 1 and not any(file.exists() for file in left)


def test_hash_of_the_sql_is_of_the_sql_and_not_of_the_database() -> None:
    def hashed(sql: str) -> str:
        return sql_hash(Project((Relation("marts.x", "model", "marts", sql),)))

    one = 'select a from "build_1"."intermediate"."int_a" as t'
    assert hashed(one) == hashed(one.replace("build_1", "build_2"))
    assert hashed(one) != hashed(one.replace("int_a", "int_b"))
    assert hashed(one) != hashed(one.replace("select a", "select b"))
