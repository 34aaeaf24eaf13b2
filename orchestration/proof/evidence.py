"""The evidence of a proof: what was proved of which generation, policy and SQL, with which tools, and how long it took.

Names, hashes and counts; never a value. Not here: the proving."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestration.atomic import write_json
from orchestration.evidence.signing import signed
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.proof.verdict import Verdict, are_proved, as_json

FOLDER = "proofs"  # of evidence/
TOOLS = ("sqlglot", "duckdb", "dbt-core", "dbt-duckdb", "pyarrow")


@dataclass(frozen=True)
class Proof:
    """What the parts found, and of what. `seconds` are wall clock, by part."""

    generation: str | None  # None: nothing is published, or what is was built by another policy
    policy_hash: str
    sql_hash: str | None  # of what dbt compiled; None where no part read it
    verdicts: tuple[Verdict, ...]
    seconds: Mapping[str, float]
    seed: int
    is_full: bool
    searched: Mapping[str, Any] = field(default_factory=dict)  # by the canaries

    @property
    def is_proved(self) -> bool:
        return are_proved(self.verdicts)

    def as_json(self) -> dict[str, Any]:
        return {
            "is_proved": self.is_proved,
            "generation": self.generation,
            "policy_hash": self.policy_hash,
            "sql_hash": self.sql_hash,
            "seed": self.seed,
            "is_full": self.is_full,
            **counted(self.verdicts),
            "seconds": dict(self.seconds),
            "parts": {part: counted(of) for part, of in by_part(self.verdicts).items()},
            "verdicts": [as_json(verdict) for verdict in self.verdicts],
            "searched": dict(self.searched),
        }


def by_part(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.part, []).append(verdict)
    return found


def counted(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Obligations, how many hold, how many do not; and of how many relations."""
    some = tuple(verdicts)
    obligations, discharged = sum(v.obligations for v in some), sum(v.discharged for v in some)
    return {
        "relations": len({verdict.relation for verdict in some}),
        "obligations": obligations,
        "discharged": discharged,
        "failed": obligations - discharged,
    }


def write_proof(home: Home, keys: Keys, proof: Proof, *, now: datetime) -> Path:
    """Keeps the proof, signed, under evidence/proofs/."""
    folder = home.evidence / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = f"{proof.generation or 'unpublished'}-{now:%Y%m%dT%H%M%S%f}"
    same = len(list(folder.glob(f"{stem}*.json")))  # a demo's clock stands still
    path = folder / (f"{stem}-{same}.json" if same else f"{stem}.json")
    tools = {"python": platform.python_version(), **{name: version(name) for name in TOOLS}}
    content = {"format": 1, "what": "proof", "proved_at": now.isoformat(), "tools": tools, **proof.as_json()}
    write_json(path, signed(content, keys))
    return path
