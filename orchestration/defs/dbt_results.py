"""Turns what one `dbt build` left, now or when it was released, into Dagster's events: statuses and counts only.

Never a message of dbt's: dagster-dbt's own stream would store error texts and failing rows (design §7)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.defs.column_lineage import Lineages
from orchestration.defs.failures import stop
from orchestration.defs.metadata import Made, measured
from orchestration.warehouse.checks import CheckResult, check_name

UNIQUE_ID = "dagster_dbt/unique_id"
GOOD = {"success", "pass"}
WARNED = {"warn"}


def unique_ids(assets: dg.AssetsDefinition) -> tuple[dict[str, dg.AssetKey], dict[str, dg.AssetCheckSpec]]:
    """dbt's id → asset key, for models; dbt's id → check, for tests."""
    nodes = {str(spec.metadata[UNIQUE_ID]): spec.key for spec in assets.specs}
    tests = {str((spec.metadata or {})[UNIQUE_ID]): spec for spec in assets.check_specs}
    return nodes, tests


def events_of(assets: dg.AssetsDefinition, target: Path, generation: str, lineages: Lineages) -> Iterator[Made]:
    """One event per model and test in `target`/run_results.json. Raises when any of them failed."""
    nodes, tests = unique_ids(assets)
    failed: list[str] = []
    for unique_id, result in _results(target).items():
        status = str(result["status"])
        passed = status in GOOD or status in WARNED
        seconds = round(float(result.get("execution_time") or 0), 3)
        if unique_id in tests:
            spec = tests[unique_id]
            counts = measured({"failures": int(result.get("failures") or 0), "seconds": seconds})
            severity = dg.AssetCheckSeverity.ERROR if spec.blocking else dg.AssetCheckSeverity.WARN
            yield dg.AssetCheckResult(
                passed=status in GOOD,
                asset_key=spec.asset_key,
                check_name=spec.name,
                severity=severity,
                metadata=counts,
            )
        elif unique_id in nodes and passed:
            metadata = {**measured({"seconds": seconds, "generation": generation}), **lineages.get(unique_id, {})}
            yield dg.MaterializeResult(asset_key=nodes[unique_id], metadata=metadata)
        if not passed:
            failed.append(unique_id.split(".")[2])
    if failed:
        shown = ", ".join(sorted(failed)[:10])
        raise stop(f"{len(failed)} models or tests failed or were skipped: {shown}. Nothing is published")


def repeated_events(
    assets: dg.AssetsDefinition, made: Sequence[CheckResult], generation: str, lineages: Lineages
) -> Iterator[Made]:
    """The same for a generation in force that the run repeats: the verdicts that its receipt holds, and marked so.

    What a build does not run (unit tests of models) is not in it, here as there."""
    tests = unique_ids(assets)[1]
    passed = {check.name: check.passed for check in made}
    for model in _upstream_first(assets):
        unique_id = str(model.metadata[UNIQUE_ID])
        if passed.get(check_name(unique_id)):
            metadata = {**measured({"generation": generation, "is_unchanged": 1}), **lineages.get(unique_id, {})}
            yield dg.MaterializeResult(asset_key=model.key, metadata=metadata)
    for unique_id, spec in tests.items():
        if check_name(unique_id) not in passed:
            continue
        yield dg.AssetCheckResult(
            passed=passed[check_name(unique_id)],
            asset_key=spec.asset_key,
            check_name=spec.name,
            severity=dg.AssetCheckSeverity.ERROR if spec.blocking else dg.AssetCheckSeverity.WARN,
            metadata=measured({"is_unchanged": 1}),
        )


def _upstream_first(assets: dg.AssetsDefinition) -> list[dg.AssetSpec]:
    """Dagster refuses an asset that is told before what it is made from."""
    specs = {spec.key: spec for spec in assets.specs}
    order = TopologicalSorter({key: {dep.asset_key for dep in spec.deps} for key, spec in specs.items()})
    return [specs[key] for key in order.static_order() if key in specs]


def _results(target: Path) -> dict[str, Mapping[str, Any]]:
    path = target / "run_results.json"
    if not path.is_file():
        raise stop("dbt left no results; `assent doctor` tells whether it can start")
    return {result["unique_id"]: result for result in json.loads(path.read_bytes())["results"]}
