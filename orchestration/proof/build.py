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
from orchestration.proof.twins.prove import prove_by_twins
from orchestration.warehouse.build import Build
from orchestration.warehouse.dbt import target_path

SEED = 1  # the same for every build, so that a verdict changes with data, policy or code only; `assent prove --seed`


def prove_build(home: Home, policy: Policy, keys: Keys, build: Build, *, now: datetime) -> Proof:
    """Runs both parts and writes their evidence, whatever they found."""
    start = time.monotonic()
    project = read_project(target_path(home), declared_columns(policy))
    static = prove_statically(project, policy, as_of=build.as_of)
    after_static = time.monotonic()
    twins = prove_by_twins(home, build.path(home), project, policy, seed=SEED)
    seconds = {"static": after_static - start, "twins": time.monotonic() - after_static}
    proof = Proof(
        generation=build.generation,
        policy_hash=build.policy_hash,
        sql_hash=sql_hash(project),
        verdicts=(*static, *twins),
        seconds={part: round(taken, 3) for part, taken in seconds.items()},
        seed=SEED,
        is_full=False,
    )
    write_proof(home, keys, proof, now=now)
    return proof
