"""Which flows past the gate were reviewed, as reclassifications.yaml declares them."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestration.policy.loader import FILES, SHIPPED, load_policy, policy_hash, read_policy
from orchestration.policy.schema import Reclassification

REVIEW = {
    "relation": "int_x",
    "reason": "only keeps out",
    "reviewed_by": "dpo@example.com",
    "expires": date(2027, 1, 1),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(SHIPPED / f"{name}.yaml", tmp_path)
    return tmp_path


def test_reclassifications_of_a_folder_without_any_are_the_shipped_ones(folder: Path) -> None:
    own = load_policy(folder)
    (folder / "reclassifications.yaml").unlink()
    load_policy.cache_clear()
    assert load_policy(folder).reclassifications == own.reclassifications
    assert policy_hash(load_policy(folder), folder) == policy_hash(own, folder)


def test_reclassifications_of_a_folder_replace_the_shipped_ones(folder: Path) -> None:
    (folder / "reclassifications.yaml").write_text("reclassifications: []")
    assert load_policy(folder).reclassifications.reclassifications == ()


def test_reclassification_given_twice_is_refused(folder: Path) -> None:
    path = folder / "reclassifications.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("relation: coverage", "relation: people_by_stage"), encoding="utf-8")
    _, _, problems = read_policy(folder)
    assert [problem.what for problem in problems] == ["the relation `people_by_stage` is given twice"]


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "denial_only"},
        {"kind": "aggregate", "key": "person_key"},
        {"kind": "aggregate", "of": ("segment",)},
        {"kind": "delivery", "needed": "always"},
        {"kind": "permit"},
        {"kind": "aggregate", "expires": None},
        {"kind": "aggregate", "reason": ""},
    ],
)
def test_reclassification_that_says_too_little_or_too_much_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Reclassification.model_validate({**REVIEW, **said})
