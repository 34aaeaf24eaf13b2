"""The dbt models against the oracle: the same decision and reason for every touchpoint and purpose."""

from __future__ import annotations

from collections import Counter

import duckdb
import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.dbt import run_unit_tests
from orchestration.warehouse.prepare import prepare
from tests.compared import differences
from tests.integration.conftest import Decided


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
def test_dbt_unit_tests_pass(decided: Decided) -> None:
    """Beside the models, one row per reason: `dbt test --select test_type:unit` on the file that was built."""
    file = decided.file
    home = Home.open(file.parents[2])
    run = run_unit_tests(home, file, prepare(home, load_policy(SHIPPED), SHIPPED))
    assert run.succeeded, run.output
    assert "PASS=4" in run.output, run.output
