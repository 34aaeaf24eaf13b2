"""Proves a build before its release: by the SQL that dbt ran for it, and by twins of the rows that it read.

Not here: what becomes of the verdicts (`checks.py`), and a proof on demand (`prove.py`)."""

from __future__ import annotations

import time
from datetime import datetime

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.schema import Policy
from orchestration.proof.compiled import declared_columns, sql_hash
from orchestration.proof.evidence import Proof, write_proof
from orchestration.proof.project import read_project
from orchestration.proof.static import prove_statically
from orchestration.warehouse.build import Build
from orchestration.warehouse.dbt import target_path

SEED_DIGITS = 7  # of the generation's name: another sample each night, and the same for the same inputs


def prove_build(home: Home, policy: Policy, keys: Keys, build: Build, *, now: datetime) -> Proof:
    """Runs both parts and writes their evidence, whatever they found."""
    start = time.monotonic()
    project = read_project(target_path(home), declared_columns(policy))
    seed = int(build.generation[:SEED_DIGITS], 16)
    static = prove_statically(project, policy, as_of=build.as_of)
    after_static = time.monotonic()
    seconds = {"static": after_static - start}
    proof = Proof(
        generation=build.generation,
        policy_hash=build.policy_hash,
        sql_hash=sql_hash(project),
        verdicts=static,
        seconds={part: round(taken, 3) for part, taken in seconds.items()},
        seed=seed,
        is_full=False,
    )
    write_proof(home, keys, proof, now=now)
    return proof
