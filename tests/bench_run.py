"""Where the seconds of `assent run` go on a small demo home: unchanged since its build, and at another T (built anew).

`python -m tests.bench_run [--people 300] [--days 30] [--json]`; each run is a process of its own, whose parts are
exclusive of one another: time in a part that another one contains counts once. Not here: volume (`bench.py`)."""

from __future__ import annotations

import argparse
import builtins
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestration.settings import QUIET, child_environment

LIBRARIES = ("numpy", "pyarrow", "duckdb", "pandas", "scipy", "sqlalchemy", "pydantic", "dagster", "dagster_dbt", "dbt",
             "great_expectations", "ibis", "pandera", "phonenumbers", "cryptography", "orchestration")  # fmt: skip
DBT = "dbt, g-e imported meanwhile"  # its own process; great-expectations is imported while it runs
# part → the functions that are it, where their callers find them
PARTS = {
    "policy and home": ["orchestration.defs.site:Site.load"],
    "dbt project (hash, manifest)": ["orchestration.defs.warehouse:prepare"],
    "Dagster: definitions": ["orchestration.defs.launch:assemble"],
    "Dagster: run and events": ["orchestration.defs.launch:_execute"],
    "ingestion": ["orchestration.defs.ingestion:ingest_source"],
    "consent": ["orchestration.defs.consent:import_feeds", "orchestration.defs.consent:open_ledger"],
    "staging": ["orchestration.defs.warehouse:stage_inputs"],
    "verification of what is in force": ["orchestration.defs.warehouse:find_repeat"],
    "identity": ["orchestration.defs.identity:resolve_identities"],
    DBT: ["orchestration.defs.warehouse:dbt.run_build"],
    "proof": ["orchestration.defs.proof:prove_build"],
    "great-expectations on marts": ["orchestration.defs.evidence:_check_marts"],
    "release and publication": ["orchestration.defs.evidence:_receipt", "orchestration.defs.warehouse:publish"],
    "exports": ["orchestration.defs.exports:export_generation"],
    "report": ["orchestration.defs.evidence:_write_report"],
    "purge and due erasures": ["orchestration.defs.retention:_purge"],
}
Seconds = dict[str, list[float]]  # part → CPU (children included), wall


def now() -> tuple[float, float]:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system, time.monotonic()


class Clock:
    """Exclusive seconds by part: what starts inside a part stops that part until it ends."""

    def __init__(self) -> None:
        self.parts: Seconds = {}
        self._open: list[str] = ["the rest"]
        self._since = now()

    def _turn(self) -> None:
        at = now()
        spent = self.parts.setdefault(self._open[-1], [0.0, 0.0])
        spent[0] += at[0] - self._since[0]
        spent[1] += at[1] - self._since[1]
        self._since = at

    def enter(self, part: str) -> None:
        self._turn()
        self._open.append(part)

    def leave(self) -> None:
        self._turn()
        self._open.pop()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.enter(part)
            try:
                return function(*arguments, **named)
            finally:
                self.leave()

        return call


def watch_imports(clock: Clock) -> None:
    """Imports of each of `LIBRARIES`, exclusive of the others."""
    real = builtins.__import__

    def watched(name: str, *arguments: Any, **named: Any) -> Any:
        library = name.partition(".")[0]
        is_ahead = threading.current_thread() is not threading.main_thread()  # it runs while the main thread waits
        if is_ahead or library not in LIBRARIES or name in sys.modules:
            return real(name, *arguments, **named)
        return clock.timed(f"import {library}", real)(name, *arguments, **named)

    builtins.__import__ = watched


def watch_parts(clock: Clock) -> None:
    importlib.import_module("orchestration.defs.launch")
    for part, places in PARTS.items():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = importlib.import_module(module)
            *inner, name = path.split(".")
            for step in inner:
                owner = getattr(owner, step)
            setattr(owner, name, clock.timed(part, getattr(owner, name)))


def child(arguments: list[str], result: Path) -> None:
    """One `assent run` in this process, timed."""
    started = now()
    clock = Clock()
    clock.parts["interpreter"] = [started[0], 0.0]
    watch_imports(clock)
    watch_parts(clock)
    from orchestration.cli import guarded, root
    from orchestration.settings import load_settings, quieten

    quieten()
    code = guarded(lambda: root.main(arguments, prog_name="assent", standalone_mode=False, obj=load_settings()))
    clock.enter("")
    if code:
        sys.exit(code)
    result.write_text(json.dumps(clock.parts))


def assent(home: Path, *arguments: str) -> None:
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", *arguments]
    environment = child_environment({**QUIET, "ASSENT_HOME": str(home)})
    subprocess.run(command, env=environment, check=True, capture_output=True)


def timed_run(home: Path, *arguments: str) -> dict[str, Any]:
    """The parts of one run, and what the process as a whole took."""
    result = home.parent / "parts.json"
    command = [sys.executable, "-m", "tests.bench_run", "--child", str(result), "run", *arguments]
    environment = child_environment({**QUIET, "ASSENT_HOME": str(home)})
    before, _ = now()
    start = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    wall = time.monotonic() - start
    parts: Seconds = json.loads(result.read_bytes())
    return {"cpu": now()[0] - before, "wall": wall, "parts": parts, "dbt_wall": _dbt(home, parts)}


def _dbt(home: Path, parts: Seconds) -> dict[str, float]:
    """Its wall clock, before and after the first model starts; nothing where it did not run."""
    results = home / "tmp" / "dbt" / "target" / "run_results.json"
    if not results.is_file():
        return {}
    models: float = json.loads(results.read_bytes())["elapsed_time"]
    return {"start and parse": parts[DBT][1] - models, "compile and execute": models}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        assent(home, "demo", "--people", str(chosen.people), "--days", str(chosen.days), "--as-of", "2026-11-22T00:00Z")
        for _ in range(2):  # what the purge at the end of a run takes from the lake is built without the next time
            assent(home, "run")
        runs = {"unchanged": timed_run(home), "another T": timed_run(home, "--as-of", "2026-11-22T01:00Z")}
    print(json.dumps(runs, indent=2) if chosen.json else table(runs))


def table(runs: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'seconds':<36}" + "".join(f"{name + ': CPU':>16}{'wall':>8}" for name in runs)]
    parts = {part for run in runs.values() for part in run["parts"]}
    none = [0.0, 0.0]
    for part in sorted(parts, key=lambda p: -max(run["parts"].get(p, none)[0] for run in runs.values())):
        spent = [run["parts"].get(part, none) for run in runs.values()]
        lines.append(f"{part:<36}" + "".join(f"{cpu:>16.2f}{wall:>8.2f}" for cpu, wall in spent))
    lines.append(f"{'whole process':<36}" + "".join(f"{run['cpu']:>16.2f}{run['wall']:>8.2f}" for run in runs.values()))
    for name, run in runs.items():
        lines += [f"dbt of {name}: {what} {wall:.2f} s wall" for what, wall in run["dbt_wall"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[3:], Path(sys.argv[2]))
    else:
        main()
