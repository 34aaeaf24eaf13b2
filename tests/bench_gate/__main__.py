"""`make bench-gate`: the decision's speed beside its bounds, the goals and the same decision by other tools.

Every measurement is a process of its own, repeated in turn with the others; the median of its CPU seconds counts, so
what else the machine does falls on all alike. Not here: the measurements (`stage.py`)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tests.bench_gate import report
from tests.bench_gate.report import Measured
from tests.bench_gate.world import Size

OURS = ("read", "join", "gate", "reasons", "timeline", "decision")
BUILDS = ("dbt", "bare")
PEERS = {"polars": "polars", "pandas": "pandas", "spark": "pyspark"}  # stage → package


class StageFailedError(Exception):
    """A measurement ended without a result."""


@click.command(help=__doc__)
@click.option("--touchpoints", default=20_000_000, show_default=True, help="60,000,000 is the other size of the goals.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions of each measurement.")
@click.option("--seed", default=7, show_default=True)
@click.option("--peers/--no-peers", default=True, show_default=True)
@click.option("--builds/--no-builds", default=True, show_default=True, help="The whole dbt build and its bare SQL.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the world is made; kept. Default: a temporary one."
)
def main(
    touchpoints: int, repeat: int, seed: int, peers: bool, builds: bool, as_json: bool, folder: Path | None
) -> None:
    size = Size.of(touchpoints, seed)
    place = folder or Path(tempfile.mkdtemp(prefix="assent-bench-gate."))
    say = (lambda _: None) if as_json else (lambda line: print(line, flush=True))
    try:
        found = measure(place / "home", size, stages(peers=peers, builds=builds, say=say), repeat, say)
    finally:
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
    rows = report.goals(found)
    if as_json:
        measured = {name: asdict(one) for name, one in found.items()}
        print(json.dumps({"size": asdict(size), "measured": measured, "goals": [asdict(row) for row in rows]}))
    else:
        print(report.text(size, found, rows))


def stages(*, peers: bool, builds: bool, say: Any) -> list[str]:
    """What can be measured here: a tool that is not installed is left out and named."""
    wanted = [*OURS, *(BUILDS if builds else ())]
    for stage, package in PEERS.items() if peers else ():
        if importlib.util.find_spec(package) is None:
            say(f"  {stage}: not measured, {package} is not installed (make bench-gate installs it apart)")
        elif stage == "spark" and shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            say("  spark: not measured, there is no Java")
        else:
            wanted.append(stage)
    return wanted


def measure(home: Path, size: Size, wanted: list[str], repeat: int, say: Any) -> dict[str, Measured]:
    """Makes the world and the build once, then measures every stage in turn, `repeat` times."""
    say(f"making {size.touchpoints:,} touchpoints, {size.events:,} ledger events, {size.people:,} people")
    run(home, "world", *map(str, asdict(size).values()))
    say("building with dbt")
    run(home, "build")
    if set(wanted) & PEERS.keys():
        run(home, "inputs")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    for number in range(repeat):
        for name in wanted:
            one = run(home, name)
            found[name].append(one)
            say(f"  {number + 1}/{repeat} {name:<10} {one['cpu']:8.2f} s  {one['peak_mb']:6,} MB")
    measured = {name: summary(runs) for name, runs in found.items()}
    expect_equal(measured)
    return measured


def run(home: Path, name: str, *size: str) -> dict[str, Any]:
    """One stage in its own process. Raises StageFailedError with the last lines of what it said."""
    command = [sys.executable, "-m", "tests.bench_gate.stage", str(home), name, *size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageFailedError(f"{name} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def summary(runs: list[dict[str, Any]]) -> Measured:
    results = [run["result"] for run in runs]
    if any(result != results[0] for result in results):
        raise StageFailedError("two runs of one stage differ in their result")
    return Measured(
        cpu=statistics.median(run["cpu"] for run in runs),
        runs=[run["cpu"] for run in runs],
        peak_mb=max(run["peak_mb"] for run in runs),
        result=results[0],
        detail=runs[-1]["detail"],
    )


def expect_equal(measured: dict[str, Measured]) -> None:
    """The same decision: every tool permits the same touchpoints, by mask, number and the sum of their times."""
    truth = measured["gate"].result
    for name in ("decision", *PEERS):
        if name in measured and measured[name].result != truth:
            raise StageFailedError(f"{name} permits other touchpoints than the gate of the build")


if __name__ == "__main__":
    main()
