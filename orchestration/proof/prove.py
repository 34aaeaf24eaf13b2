"""Runs the parts of the proof that are asked for, one after the other, on a home as it is and a policy as it is now.

Not here: what each part proves (`static.py`, `twins/`, `canaries.py`), and how it is told (`commands.py`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.policy.loader import policy_hash
from orchestration.proof.canaries import SAMPLE, CanarySearch
from orchestration.proof.evidence import Proof
from orchestration.proof.verdict import Part, Verdict
from orchestration.retention.respond import Site
from orchestration.warehouse.publish import last_in_force

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """Which parts, from which seed, on a sample or on everybody; further folders for the canaries."""

    parts: tuple[Part, ...]
    seed: int = 1
    is_full: bool = False
    also: tuple[Path, ...] = ()


def prove(site: Site, policy_dir: Path, asked: Asked, *, say: Say = lambda _: None) -> Proof:
    """Raises AssentError where a part cannot be run at all; what is not proved is a verdict."""
    verdicts: list[Verdict] = []
    seconds: dict[str, float] = {}
    searched: dict[str, Any] = {}
    in_force = last_in_force(site.home)
    with site.home.lock():
        for part in asked.parts:
            start = time.monotonic()
            if part == "canaries":
                found, searched = _canaries(site, asked, say)
                verdicts += found
            seconds[part] = round(time.monotonic() - start, 3)
    return Proof(
        generation=None if in_force is None else in_force.generation,
        policy_hash=policy_hash(site.policy, policy_dir),
        sql_hash=None,
        verdicts=tuple(verdicts),
        seconds=seconds,
        seed=asked.seed,
        is_full=asked.is_full,
        searched=searched,
    )


def _canaries(site: Site, asked: Asked, say: Say) -> tuple[Sequence[Verdict], dict[str, Any]]:
    search = CanarySearch(site, seed=asked.seed, sample=None if asked.is_full else SAMPLE, also=asked.also)
    found = search.run(lambda line: say(f"canaries   {line}"))
    return found.verdicts(), {
        "files": sum(found.files.values()),
        "bytes": found.bytes,
        "looked_for": {kind: {"looked_for": n, "known": found.known[kind]} for kind, n in found.looked_for.items()},
        "only_bytes": found.unreadable,
        "not_searched": found.not_searched,
        "controls": {"planted": found.control_planted, "missed": len(found.control_missed)},
    }
