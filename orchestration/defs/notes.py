"""What the steps of one run leave for the later ones: check results and counts. Swept when the next run starts.

A run may be in one process or many, so it is files; they hold names and numbers only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from orchestration.atomic import write_json
from orchestration.home import Home
from orchestration.warehouse.checks import CheckResult


def folder(home: Home) -> Path:
    return home.tmp / "notes"


def leave(home: Home, step: str, checks: Sequence[CheckResult] = (), counts: Mapping[str, int] | None = None) -> None:
    """Replaces what `step` left: a retry does not count twice."""
    folder(home).mkdir(exist_ok=True)
    write_json(folder(home) / f"{step}.json", {"checks": [asdict(check) for check in checks], "counts": counts or {}})


def all_checks(home: Home) -> list[CheckResult]:
    """Every check result of this run so far, in order of step."""
    return [CheckResult(**check) for path in _paths(home) for check in json.loads(path.read_bytes())["checks"]]


def all_counts(home: Home) -> dict[str, dict[str, int]]:
    """Step → its counts, of those steps that left any."""
    found = {path.stem: json.loads(path.read_bytes())["counts"] for path in _paths(home)}
    return {step: counts for step, counts in found.items() if counts}


def _paths(home: Home) -> list[Path]:
    return sorted(folder(home).glob("*.json"))
