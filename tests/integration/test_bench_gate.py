"""A small sample of `make bench-gate`: what it measures gives one answer, and it would notice if it did not."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.home import Home
from tests.bench_gate import ours, report
from tests.bench_gate.__main__ import PEERS, StageFailedError, expect_equal, run, summary
from tests.bench_gate.report import Measured
from tests.bench_gate.stage import set_up
from tests.bench_gate.world import Size
from tests.homes import lend_project

SAMPLE = Size(touchpoints=20_000, people=2_000, events=12_000, days=30)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    """Our queries on the sample, and the peers that are installed (Spark takes too long to start)."""
    home = tmp_path_factory.mktemp("bench") / "home"
    set_up(Home.open(home), "world", tuple(map(str, vars(SAMPLE).values())))  # only what is measured needs a process
    lend_project(tmp_path_factory, home)
    set_up(Home.open(home), "build", ())
    models = ours.Models(Home.open(home))
    ours.prepare_join(models)
    found = {name: _measured(stage(models)) for name, stage in ours.STAGES.items() if name not in ours.REBUILDS}
    for name in ours.REBUILDS:
        found[name] = _measured(ours.STAGES[name](ours.Models(Home.open(home))))
    peers = [name for name in ("polars", "pandas") if importlib.util.find_spec(PEERS[name])]
    set_up(Home.open(home), "inputs", ())
    return found | {name: summary([run(home, name)]) for name in peers}


def _measured(result: ours.Digest) -> Measured:
    return Measured(cpu=1.0, runs=[1.0], peak_mb=1, result=result, detail=None)


def test_every_way_permits_the_same_touchpoints(sample: dict[str, Measured]) -> None:
    expect_equal(sample)
    assert "pandas" in sample
    permitted = sum(count for _, count, _ in sample["gate"].result)
    assert 0.2 * SAMPLE.touchpoints < permitted < 0.8 * SAMPLE.touchpoints, "a world in which consent decides"


def test_counts_by_reason_agree_with_the_gate(sample: dict[str, Measured]) -> None:
    [[_, permits, purposes]] = sample["reasons"].result
    by_bit = sum(count * mask.bit_count() for mask, count, _ in sample["gate"].result)
    assert (permits, purposes) == (by_bit, 8)


def test_another_answer_is_no_measurement(sample: dict[str, Measured]) -> None:
    wrong = [[mask, count + 1, seconds] for mask, count, seconds in sample["pandas"].result]
    with pytest.raises(StageFailedError, match="pandas"):
        expect_equal(sample | {"pandas": replace(sample["pandas"], result=wrong)})


def test_failed_stage_says_what_happened(tmp_path: Path) -> None:
    with pytest.raises(StageFailedError, match="gate failed"):
        run(tmp_path / "home", "gate")


def test_missed_goal_is_said() -> None:
    found = {"join": _measured([]), "gate": replace(_measured([]), cpu=1.6), "polars": replace(_measured([]), cpu=1.9)}
    rows = report.goals(found | {"decision": _measured([])})
    assert {row.what: row.met for row in rows} == {
        "admission ÷ plain hash join": False,
        "polars ÷ timeline and gate": False,
        "highest memory of ours, MB": True,
    }
    assert "MISSED" in report.text(SAMPLE, found, rows)
