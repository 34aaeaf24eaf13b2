"""What a check says: a name, a verdict, counts. Also reads the verdicts out of dbt's run results.

Never a message, a value or a row: dbt and DuckDB write values into theirs (fault E3)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestration.errors import AssentError

Severity = Literal["error", "warn"]
CHECKED = ("model", "test", "snapshot", "seed")
GOOD = {"success", "pass"}
ALL_RAN = "every model and test ran"


@dataclass(frozen=True)
class CheckResult:
    """One verdict. `name` is a sentence, true when good; `detail` holds counts only. Severity `warn` does not block."""

    stage: str
    name: str
    passed: bool
    severity: Severity = "error"
    detail: str = ""

    @property
    def blocks(self) -> bool:
        return not self.passed and self.severity == "error"


def totals(checks: Iterable[CheckResult]) -> dict[str, int]:
    """How many passed and failed; a warning counts as failed, though it does not block."""
    verdicts = [check.passed for check in checks]
    return {"passed": sum(verdicts), "failed": len(verdicts) - sum(verdicts)}


def dbt_checks(target: Path, manifest: Path) -> list[CheckResult]:
    """The verdict of every model and test in `target/run_results.json`, held against all that `manifest` names."""
    results = _results(target)
    wanted = _wanted(json.loads(manifest.read_bytes()))
    missing = sorted(wanted.keys() - results.keys())
    whole = CheckResult("dbt", ALL_RAN, not missing, "error", f"{len(missing)} did not run")
    return [whole, *(_verdict(unique_id, result) for unique_id, result in sorted(results.items()))]


def wanted_of_dbt(manifest: Mapping[str, Any]) -> set[str]:
    """The names of the checks that a whole `dbt build` of `manifest` makes."""
    return {ALL_RAN, *(check_name(unique_id) for unique_id in _wanted(manifest))}


def check_name(unique_id: str) -> str:
    """What the check of a model or test of dbt's is called here."""
    kind, _, name = unique_id.split(".")[:3]
    return f"{name}: is built" if kind in ("model", "seed", "snapshot") else name


def _results(target: Path) -> dict[str, Mapping[str, Any]]:
    path = target / "run_results.json"
    if not path.is_file():
        raise AssentError(
            "dbt left no results", where="dbt build", remedy="See whether dbt itself starts: `assent doctor`"
        )
    return {result["unique_id"]: result for result in json.loads(path.read_bytes())["results"]}


def _wanted(manifest: Mapping[str, Any]) -> dict[str, Any]:
    nodes: Mapping[str, Any] = manifest["nodes"]  # unit tests apart: they test the code, not a build
    return {
        unique_id: node
        for unique_id, node in nodes.items()
        if unique_id.split(".")[0] in CHECKED and node.get("config", {}).get("materialized") != "ephemeral"
    }


def _verdict(unique_id: str, result: Mapping[str, Any]) -> CheckResult:
    status = str(result["status"])
    failures = result.get("failures")
    return CheckResult(
        stage="dbt",
        name=check_name(unique_id),
        passed=status in GOOD,
        severity="warn" if status == "warn" else "error",
        detail=f"{int(failures)} rows" if isinstance(failures, int) else "",
    )
