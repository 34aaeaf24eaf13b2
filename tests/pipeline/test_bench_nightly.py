"""A small sample of `make bench-nightly`: it measures every stage, and sees growth where there is some."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests.bench_nightly import growth, main

STAGES = (
    "ingestion", "consent import", "staging", "identity", "SQL of intermediate", "SQL of marts/marketing",
    "SQL of tests", "dbt itself", "checks of marts", "proof", "release, publish", "exports", "content hash",
    "the whole night",
)  # fmt: skip


@pytest.mark.slow
def test_bench_measures_every_stage_of_a_night() -> None:
    done = CliRunner().invoke(main, ["--people", "60", "--history", "3"])
    assert done.exit_code == 0, done.output
    lines = {line.strip()[:34].strip(): line.split() for line in done.output.splitlines()}
    for stage in STAGES:
        assert float(lines[stage][-3]) > 0, stage
    assert 0 < float(lines["carrying every table over"][-3]) < float(lines["all SQL of dbt"][-3])
    assert 0 < int(lines["any of these"][-2]) <= int(lines["people"][-2])
    assert int(lines["touchpoints"][-2].replace(",", "")) > 0


@pytest.mark.parametrize("exponent", [0, 1, 2])
def test_growth_finds_the_exponent(exponent: int) -> None:
    days = [30, 60, 120, 240]
    assert growth(days, [0.01 * n**exponent for n in days]) == pytest.approx(exponent)
