"""The dbt models against the oracle: the same decision and reason for every touchpoint and purpose."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import pytest
import yaml

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.dbt import run_unit_tests
from orchestration.warehouse.prepare import prepare
from tests.activation_in_dbt import add_activation_table
from tests.compared import differences
from tests.integration.conftest import Decided
from tests.table_in_dbt import with_table


@pytest.mark.fault("H9", "B6", "B7")
def test_decisions_and_gate_equal_the_oracle(decided: Decided) -> None:
    reasons: Counter[str] = Counter()
    with duckdb.connect(str(decided.file), read_only=True) as con:
        wrong = differences(con, decided.worlds, reasons)
    assert not wrong, f"{len(wrong)} of {sum(reasons.values())} differ, e.g. {wrong[0]}\n{wrong[0].world.told()}"
    # the worlds reach every reason of a touchpoint's decision, so that equality means something
    assert reasons.keys() >= {
        "permit", "unknown_source", "category_not_allowed", "unresolved_identity", "ambiguous_identity", "erased",
        "restricted", "legal_hold_use_blocked", "minor_without_guardian", "controller_mismatch", "no_consent",
        "no_contract", "not_explicit", "needs_separate_consent", "notice_unknown", "notice_superseded", "denied",
        "withdrawn", "objected", "expired", "opted_out", "before_consent", "past_retention",
    }, reasons  # fmt: skip


@pytest.mark.fault("B6")
@pytest.mark.parametrize("most", [1, pytest.param(None, marks=pytest.mark.slow)], ids=["shipped", "every_policy"])
def test_dbt_unit_tests_pass(decided: Decided, tmp_path: Path, most: int | None) -> None:
    """Those beside the models, and both tables: `dbt test --select test_type:unit` on the built file. In CI the rows of
    the shipped policy, which are most; those of each deviation take dbt seconds, and are decided the two other ways."""
    home = Home.open(decided.file.parents[2])
    project = prepare(home, load_policy(SHIPPED), SHIPPED)
    beside = sum(len(yaml.safe_load(f.read_text())["unit_tests"]) for f in project.glob("models/**/_*__unit_tests.yml"))
    with_rows, added = with_table(project, decided.manifest, tmp_path, most)
    added += add_activation_table(with_rows, decided.manifest, most)
    run = run_unit_tests(home, decided.file, with_rows)
    assert run.succeeded, run.output
    assert f"PASS={beside + added}" in run.output, run.output
