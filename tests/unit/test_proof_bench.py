"""The generated models of `make bench-proof` are proved, every one: what is timed is the whole proof."""

from __future__ import annotations

from click.testing import CliRunner

from tests.bench_proof import main, measured


def test_generated_models_are_all_proved() -> None:
    _, models, is_proved = measured(30, best_of=1)
    assert is_proved
    assert models > 40


def test_bench_prints_a_line_for_each_size() -> None:
    found = CliRunner().invoke(main, ["--best-of", "1", "--sizes", "5,10"])
    assert found.exit_code == 0, found.output
    assert [line.split()[-1] for line in found.output.splitlines()[1:3]] == ["yes", "yes"]
