"""The lock of a build, and the IO manager that stores nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from orchestration.defs.site import Site
from orchestration.errors import AssentError

LOCK_WAIT_SECONDS = 600  # a re-export waits for a build in progress rather than fail; a build takes minutes
POOL = "assent"  # one writer: its limit is 1 (storage.yaml template), so other runs queue


def build_lock(
    site: Site, required: frozenset[dg.AssetKey], *, wait: float = LOCK_WAIT_SECONDS
) -> dg.ResourceDefinition:
    """Holds the home's lock for the whole run, and refuses a run of only some of the `required` assets.

    The lock is a flock: it goes with the process, however that ends (faults A12, A13)."""

    @dg.resource(description="The one lock of the home, held from ingestion to publication.")
    @contextmanager
    def hold(context: dg.InitResourceContext) -> Iterator[None]:
        refuse_partial(context.run, required, context.instance)
        site.open_keys()
        with site.home.lock(timeout=wait):
            site.home.sweep()
            yield

    return hold


def refuse_partial(
    run: dg.DagsterRun | None, required: frozenset[dg.AssetKey], instance: dg.DagsterInstance | None
) -> None:
    """Half a build would run against half a warehouse: a selection is all of the build's assets or none of them."""
    if run is None:
        return
    chosen = run.asset_selection  # none or empty: the whole job
    left_out = len(required - chosen) if chosen else 0
    steps = _steps_left_out(run, instance)
    if left_out or steps or run.op_selection:
        raise AssentError(
            f"only a part of the run was selected ({left_out} assets and {steps} steps are left out)",
            where="selection of assets",
            remedy="Materialise all assets of one partition, or launch build_job from the beginning",
        )


def _steps_left_out(run: dg.DagsterRun, instance: dg.DagsterInstance | None) -> int:
    """How many steps of the plan a re-execution 'from failure' would skip."""
    if instance is None or run.execution_plan_snapshot_id is None or run.step_keys_to_execute is None:
        return 0
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return len({step.key for step in plan.steps} - set(run.step_keys_to_execute))


class RefusingIOManager(dg.IOManager):
    """Every stage hands over through the home. A value in Dagster's storage would be a pickle (E2, G5)."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if obj is not None:
            raise AssentError(
                "a step returned a value for Dagster to store",
                where=context.step_key,
                remedy="Write it to the home instead",
            )

    def load_input(self, context: dg.InputContext) -> None:
        raise AssentError("a step asked Dagster for a stored value", where=context.name, remedy="Read it from the home")
