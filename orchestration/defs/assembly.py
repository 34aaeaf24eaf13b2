"""Puts the stages, jobs, schedule and sensors of one site together."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime

import dagster as dg

from orchestration.defs import (
    consent,
    evidence,
    exports,
    identity,
    ingestion,
    jobs,
    policy,
    proof,
    retention,
    schedules,
    sensors,
    warehouse,
)
from orchestration.defs.resources import LOCK_WAIT_SECONDS, RefusingIOManager, build_lock
from orchestration.defs.site import Site

warnings.filterwarnings("ignore", category=dg.BetaWarning)  # `backfill_policy` of an asset; dagster is pinned
STAGES = (policy, ingestion, consent, identity, warehouse, proof, evidence, exports, retention)


def wall_clock() -> datetime:
    return datetime.now(UTC)


def assemble(site: Site, *, lock_wait: float = LOCK_WAIT_SECONDS) -> dg.Definitions:
    """Every definition of the code location `assent`, for one home and policy."""
    stages = dg.Definitions.merge(*(stage.definitions(site) for stage in STAGES))
    made = [asset for asset in stages.assets or () if isinstance(asset, dg.AssetsDefinition)]
    keys = sorted({key for asset in made for key in asset.keys})
    return dg.Definitions.merge(
        stages,
        dg.Definitions(
            jobs=[jobs.build_job(site, keys), jobs.re_export_job(site)],
            schedules=[schedules.nightly_schedule(site), *schedules.consent_table_schedules(site)],
            sensors=[
                sensors.landing_sensor(site, wall_clock),
                sensors.consent_withdrawal_sensor(site, wall_clock),
                sensors.failure_sensor(site),
            ],
            resources={
                "build_lock": build_lock(site, frozenset(keys), wait=lock_wait),
                "io_manager": RefusingIOManager(),
            },
            executor=dg.in_process_executor,
        ),
    )
