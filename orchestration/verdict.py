"""What a verification says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One thing that was verified."""

    name: str
    passed: bool
    detail: str
