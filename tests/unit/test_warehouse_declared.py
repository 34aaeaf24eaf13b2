"""Every column that people are shown is declared, and every declaration is used: each mutant of either is caught."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Destination
from orchestration.policy.vocabulary import vocabulary
from orchestration.warehouse.declared import ColumnsUndeclaredError, problems, require_declared
from orchestration.warehouse.prepare import prepare
from orchestration.warehouse.project_files import SEGMENT_COLUMNS
from tests.homes import lend_project

MART, TABLE = "model.assent.birthday_month", "model.assent.coverage"
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    home = Home.open(tmp_path_factory.mktemp("declared") / "home")
    lend_project(tmp_path_factory, home.root)
    project = prepare(home, load_policy(), SHIPPED)
    manifest: Manifest = json.loads((project / "target" / "manifest.json").read_bytes())
    return manifest


def replaced(model: str, old: str, new: str) -> Callable[[Manifest], None]:
    def mutate(manifest: Manifest) -> None:
        node = manifest["nodes"][model]
        assert node["raw_code"].count(old) == 1
        node["raw_code"] = node["raw_code"].replace(old, new)

    return mutate


def column(model: str, name: str, **changes: Any) -> Callable[[Manifest], None]:
    """Adds or changes a declaration; without changes it is dropped."""

    def mutate(manifest: Manifest) -> None:
        columns = manifest["nodes"][model]["columns"]
        if changes:
            columns[name] = {**columns.get(name, {"name": name}), **changes}
        else:
            del columns[name]

    return mutate


def config(model: str, **changes: Any) -> Callable[[Manifest], None]:
    return lambda manifest: manifest["nodes"][model]["config"].update(changes)


MUTANTS: list[tuple[Callable[[Manifest], None], str]] = [
    (
        replaced(TABLE, "    controller,\n", "    controller,\n    min(subject_token) as example,\n"),
        "example is not decl",
    ),
    (replaced(TABLE, "    controller,\n", ""), "controller is declared, and not there"),
    (replaced(MART, "select * from {{ segment_m", "select *, 1 as phone from {{ segment_m"), "phone is not declared"),
    (column(TABLE, "controller"), "controller is not declared"),
    (column(TABLE, "city", config={"meta": {"category": "code"}}), "city is declared, and not there"),
    (column(TABLE, "touchpoints", config={"meta": {"category": "code"}}), "touchpoints has no category"),
    (column(TABLE, "controller", config={}), "controller has no category"),
    (column(MART, "birth_month", config={}), "birth_month has no category"),
    (column(MART, "birth_month", config={"meta": {"category": "astrology"}}), "birth_month has no category"),
    (config(MART, meta={}), "birthday_month has no purpose of this policy"),
    (config(MART, meta={"purpose": "sms_marketing"}), "birthday_month has no purpose of this policy"),
    (config(TABLE, meta={"purpose": "curiosity"}), "coverage has no purpose of this policy"),
    (config(MART, contract={"enforced": False}), "birthday_month has no enforced contract"),
    (config(TABLE, contract={}), "coverage has no enforced contract"),
    (lambda manifest: manifest["nodes"].pop("model.assent.people_by_stage"), "people_open is declared a count, and no"),
]


def test_shipped_columns_are_all_declared(whole: Manifest) -> None:
    assert problems(whole, load_policy()) == []


@pytest.mark.parametrize(("mutate", "said"), MUTANTS)
def test_mutant_is_caught(whole: Manifest, mutate: Callable[[Manifest], Any], said: str) -> None:
    mutant = copy.deepcopy(whole)
    mutate(mutant)
    found = problems(mutant, load_policy())
    assert any(said in problem for problem in found), found
    with pytest.raises(ColumnsUndeclaredError, match="not as they are declared"):
        require_declared(mutant, load_policy())


def test_vocabulary_declares_what_segments_and_destinations_may_hold() -> None:
    names = set(vocabulary().names("shown_columns"))
    of_files = set(get_args(get_args(Destination.model_fields["columns"].annotation)[0]))
    assert names == of_files | SEGMENT_COLUMNS.keys()


def test_prepared_project_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not declared is never built: there is no project to build it with."""
    from orchestration.warehouse import prepare as preparing

    def parse(home: Home, project: Path) -> None:
        (project / "target").mkdir()
        (project / "target" / "manifest.json").write_text('{"nodes": {}, "macros": {}}')

    monkeypatch.setattr(preparing, "parse", parse)
    home = Home.open(tmp_path / "home")
    with pytest.raises(ColumnsUndeclaredError):
        prepare(home, load_policy(), SHIPPED)
    assert not list(home.policies.glob("*/dbt"))
