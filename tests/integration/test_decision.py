"""The dbt models against the oracle: the same decision and reason for every touchpoint and purpose."""

from __future__ import annotations

from collections import Counter

import duckdb
import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.dbt import run_unit_tests
from orchestration.warehouse.prepare import prepare
from tests.integration.conftest import Decided
from tests.oracle import decide


def test_decisions_equal_the_oracle(decided: Decided) -> None:
    worlds, file = decided.worlds, decided.file
    with duckdb.connect(str(file), read_only=True) as con:
        found = {
            (key, purpose): reason
            for key, purpose, reason in con.execute(
                "select touchpoint_key, purpose, reason from intermediate.int_decisions"
            ).fetchall()
        }
    reasons: Counter[str] = Counter()
    wrong = []
    for world, touchpoints in worlds:
        for touchpoint in touchpoints:
            for purpose in world.policy.purposes.purposes:
                expected = decide(world, touchpoint, purpose.name)
                reasons[expected or "permit"] += 1
                if found.pop((touchpoint.key, purpose.name)) != expected:
                    wrong.append((touchpoint.key, purpose.name))
    assert not wrong, f"{len(wrong)} of {sum(reasons.values())} differ, e.g. {wrong[:5]}"
    assert not found, "decisions about touchpoints that do not exist"
    # the worlds reach every reason of a touchpoint's decision, so that equality means something
    assert reasons.keys() >= {
        "permit", "unknown_source", "category_not_allowed", "unresolved_identity", "ambiguous_identity", "erased",
        "restricted", "legal_hold_use_blocked", "minor_without_guardian", "controller_mismatch", "no_consent",
        "no_contract", "not_explicit", "needs_separate_consent", "notice_unknown", "notice_superseded", "denied",
        "withdrawn", "objected", "expired", "opted_out", "before_consent", "past_retention",
    }, reasons  # fmt: skip


@pytest.mark.fault("H9", "B6", "B7")
def test_gate_holds_exactly_what_the_oracle_permits(decided: Decided) -> None:
    worlds, file = decided.worlds, decided.file
    with duckdb.connect(str(file), read_only=True) as con:
        gated = set(
            con.execute("select touchpoint_key, purpose from intermediate.int_touchpoints_gated_by_purpose").fetchall()
        )
    permitted = {
        (touchpoint.key, purpose.name)
        for world, touchpoints in worlds
        for touchpoint in touchpoints
        for purpose in world.policy.purposes.purposes
        if decide(world, touchpoint, purpose.name) is None
    }
    assert gated == permitted
    assert permitted


@pytest.mark.fault("B6")
def test_dbt_unit_tests_pass(decided: Decided) -> None:
    """Beside the models, one row per reason: `dbt test --select test_type:unit` on the file that was built."""
    file = decided.file
    home = Home.open(file.parents[2])
    run = run_unit_tests(home, file, prepare(home, load_policy(SHIPPED), SHIPPED))
    assert run.succeeded, run.output
    assert "PASS=4" in run.output, run.output
