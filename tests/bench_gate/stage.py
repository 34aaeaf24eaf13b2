"""One measurement in a process of its own, so that its memory is its own: `python -m tests.bench_gate.stage HOME NAME`.

Prints one line of JSON. CPU seconds are of the work itself: imports, connections and Spark's start are outside."""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.dbt import DbtRun, run_build, target_path
from orchestration.warehouse.prepare import prepare
from tests.bench import run_bare
from tests.bench_gate import ours, peer_inputs
from tests.bench_gate.world import DATABASE, Size, make_world

PEERS = ("polars", "pandas", "spark")
SETUP = ("world", "build", "inputs")  # made once, before anything is measured
Cpu = Callable[[], float]


def main(root: str, name: str, *size: str) -> None:
    home = Home.open(Path(root))
    cpu, result, detail, watched = _run(home, name, size)
    print(json.dumps({"cpu": round(cpu, 3), "peak_mb": _peak_mb(watched), "result": result, "detail": detail}))


def _run(home: Home, name: str, size: tuple[str, ...]) -> tuple[float, Any, Any, str]:
    """CPU seconds, the output, what else is worth knowing, and whose memory counts: self, children, or a process."""
    if name in SETUP:
        return 0.0, set_up(home, name, size), None, "children"
    if name == "dbt":
        return _dbt(home)
    if name == "bare":
        file = _fresh(home, "bare")
        cpu, statements = _timed(time.process_time, lambda: run_bare(home, file, DATABASE, _last_run(home)))
        file.unlink()
        return cpu, statements, None, "self"
    if name in PEERS:
        return _peer(home, name)
    models = ours.Models(home)
    if name == "join":
        ours.prepare_join(models)
    cpu, digest = _timed(time.process_time, lambda: ours.STAGES[name](models))
    return cpu, digest, models.seconds, "self"


def _timed(clock: Cpu, work: Callable[[], Any]) -> tuple[float, Any]:
    started = clock()
    result = work()
    return clock() - started, result


def set_up(home: Home, name: str, size: tuple[str, ...]) -> Any:
    if name == "world":
        make_world(home, load_policy(SHIPPED), Size(*map(int, size)))
        shutil.copyfile(home.building / f"{DATABASE}.duckdb", _inputs(home))
        return None
    if name == "build":
        return _built(home)
    return peer_inputs.write_inputs(home)


def _inputs(home: Home) -> Path:
    return home.tmp / "inputs.duckdb"


def _fresh(home: Home, name: str) -> Path:
    """A build file as it was before dbt ran. The folder is not the build's own, which the gate reads."""
    (home.tmp / name).mkdir(exist_ok=True)
    return Path(shutil.copyfile(_inputs(home), home.tmp / name / f"{DATABASE}.duckdb"))


def _last_run(home: Home) -> DbtRun:
    return DbtRun(True, target_path(home), "")


def _built(home: Home) -> list[Any]:
    run = run_build(home, home.building / f"{DATABASE}.duckdb", prepare(home, load_policy(SHIPPED), SHIPPED))
    if not run.succeeded:
        sys.exit(run.output[-3000:])
    return _slowest(run)


def _dbt(home: Home) -> tuple[float, Any, Any, str]:
    project = prepare(home, load_policy(SHIPPED), SHIPPED)
    file = _fresh(home, "dbt_run")
    cpu, run = _timed(_children, lambda: run_build(home, file, project))
    file.unlink()
    if not run.succeeded:
        sys.exit(run.output[-3000:])
    return cpu, None, _slowest(run), "children"


def _slowest(run: DbtRun) -> list[Any]:
    """The nodes that took longest by the clock; two run at a time."""
    results = json.loads((run.target / "run_results.json").read_text())["results"]
    found = sorted(((round(r["execution_time"], 2), r["unique_id"]) for r in results), reverse=True)
    return [list(one) for one in found[:15]]


def _peer(home: Home, name: str) -> tuple[float, Any, Any, str]:
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    peer = importlib.import_module(f"tests.bench_gate.peer_{name}")
    if name != "spark":
        cpu, digest = _timed(time.process_time, lambda: peer.decide(home))
        return cpu, digest, peer.versions(), "self"
    pid = peer.process_of(peer.session(home))
    cpu, digest = _timed(lambda: time.process_time() + _cpu_of(pid), lambda: peer.decide(home))
    return cpu, digest, peer.versions(), str(pid)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of(pid: int) -> float:
    """User and system seconds of a running process (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(watched: str) -> int:
    if watched in ("self", "children"):
        who = resource.RUSAGE_SELF if watched == "self" else resource.RUSAGE_CHILDREN
        return resource.getrusage(who).ru_maxrss // 1024
    lines = Path(f"/proc/{watched}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
