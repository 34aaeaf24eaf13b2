"""Hypothesis makes whole worlds, policies included: the models decide each touchpoint as the oracle does.

One example is one policy and a batch of small worlds in one database in memory, where the SQL that dbt compiled runs:
hundreds of worlds in seconds. `make test-worlds` runs 10,000 with a new seed, which it prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Policy
from tests.compared import Difference, differences
from tests.integration.conftest import Bench
from tests.oracle import World
from tests.staged import stage_worlds
from tests.worlds import Dice, random_policy, random_world

BATCH = 25
BATCHES = 16  # in CI: 400 worlds
NIGHTLY_BATCHES = 400
SHIPPED_POLICY = load_policy(SHIPPED)
NUMBERS = {n: st.integers(0, n - 1) for n in range(1, 101)}
QUICK = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # one world is made small in a second; Hypothesis would take minutes for the batch
    print_blob=False,
)


@dataclass(frozen=True, repr=False)
class Batch:
    policy: Policy
    worlds: list[World]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    dice = Dice(lambda n: draw(NUMBERS[n]))
    policy = random_policy(dice, SHIPPED_POLICY)
    return Batch(policy, [random_world(dice, policy, number) for number in range(1, BATCH + 1)])


def decided_otherwise(bench: Bench, policy: Policy, worlds: list[World], reasons: Counter[str]) -> list[Difference]:
    stage_worlds(bench.con, policy, worlds)
    assert not bench.chain.run(bench.con)
    return differences(bench.con, worlds, reasons)


def compare(bench: Bench, batch: Batch, reasons: Counter[str]) -> None:
    """Raises with the smallest world of which the models say another thing than the oracle."""
    for found in decided_otherwise(bench, batch.policy, batch.worlds, reasons)[:1]:
        one = smallest(bench, found)
        purpose = one.world.purpose(one.purpose)
        raise AssertionError(
            f"{one.touchpoint.key} for {one.purpose}: the oracle says {one.expected or 'permit'}, the models "
            f"{one.found or 'permit'}; the gate let it pass: {one.passed}\n{one.world.told()}\n{purpose}"
        )


def smallest(bench: Bench, found: Difference) -> Difference:
    """Leaves out record after record for as long as the answers differ: such a world makes a persona."""
    alone = replace(found.world, touchpoints=[found.touchpoint], known={})
    found = next(iter(decided_otherwise(bench, alone.policy, [alone], Counter())), found)
    for part in ("links", "events", "contracts", "ages", "statuses"):
        for record in list(getattr(found.world, part)):
            kept = [other for other in getattr(found.world, part) if other != record]
            less = replace(found.world, known={})
            setattr(less, part, kept)
            found = next(iter(decided_otherwise(bench, less.policy, [less], Counter())), found)
    return found


def run_worlds(bench: Bench, batches_wanted: int, rules: settings, start: int) -> tuple[int, Counter[str]]:
    """How many worlds were compared, and the reasons that they had."""
    reasons: Counter[str] = Counter()
    seen: Counter[str] = Counter()

    @seed(start)
    @settings(rules, max_examples=batches_wanted)
    @given(batches())
    def every_decision_agrees(batch: Batch) -> None:
        seen["worlds"] += len(batch.worlds)
        compare(bench, batch, reasons)

    every_decision_agrees()
    return seen["worlds"], reasons


def test_worlds_are_decided_as_the_oracle_says(bench: Bench) -> None:
    worlds, reasons = run_worlds(bench, BATCHES, settings(QUICK, derandomize=False), start=1)
    assert worlds >= BATCH * BATCHES
    assert reasons["permit"] and len(reasons) >= 15, reasons  # the worlds are about something


@pytest.mark.slow
def test_ten_thousand_worlds(bench: Bench, pytestconfig: pytest.Config) -> None:
    start = pytestconfig.getoption("worlds_seed")
    print(f"\nworlds: seed {start} (again with `make test-worlds SEED={start}`)")
    worlds, reasons = run_worlds(bench, NIGHTLY_BATCHES, QUICK, start)
    print(f"worlds: {worlds} compared; " + ", ".join(f"{name} {count}" for name, count in reasons.most_common()))
    assert worlds >= 10_000
