"""Keeps the lineage of a build beside its other evidence, as OpenLineage events. Not here: what they hold."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.proof.lineage import EVENTS
from orchestration.proof.lineage.openlineage import Run, namespace, tags_of, write_events
from orchestration.proof.lineage.read import built_lineage
from orchestration.warehouse.build import Build
from orchestration.warehouse.prepare import prepare


def record_lineage(home: Home, policy: Policy, policy_dir: Path, build: Build, *, now: datetime) -> Path | None:
    """Writes evidence/<generation>/openlineage.jsonl, once. None: the build was not compiled here, or its SQL cannot be
    followed."""
    path = home.evidence / build.generation / EVENTS
    lineage = None if path.is_file() else built_lineage(home, prepare(home, policy, policy_dir), policy)
    if lineage is not None:
        run = Run(build.generation, build.as_of, now, namespace(policy.organisation.beside.asset_prefix))
        write_events(path, lineage, run, tags_of(policy, lineage))
    return path if path.is_file() else None
