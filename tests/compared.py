"""What the models decide about worlds, and where the oracle says otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from tests.oracle import Touchpoint, World, decide

DECISIONS = "select touchpoint_key, purpose, reason from intermediate.int_decisions"
GATED = "select touchpoint_key, purpose from intermediate.int_touchpoints_gated_by_purpose"
UP_TO = ("int_decisions", "int_touchpoints_gated_by_purpose")


@dataclass(frozen=True)
class Difference:
    """One decision that the models and the oracle do not agree on, and whether the gate let the row pass."""

    world: World
    touchpoint: Touchpoint
    purpose: str
    expected: str | None
    found: str | None
    passed: bool


def expected(worlds: Sequence[World]) -> Iterator[tuple[World, Touchpoint, str, str | None]]:
    for world in worlds:
        for touchpoint in world.touchpoints:
            for purpose in world.policy.purposes.purposes:
                yield world, touchpoint, purpose.name, decide(world, touchpoint, purpose.name)


def differences(con: duckdb.DuckDBPyConnection, worlds: Sequence[World], reasons: Counter[str]) -> list[Difference]:
    """Every decision once, and the gate exactly what the oracle permits. Counts the reasons seen."""
    found = {(key, purpose): reason for key, purpose, reason in con.execute(DECISIONS).fetchall()}
    gated = set(con.execute(GATED).fetchall())
    wrong = []
    for world, touchpoint, purpose, reason in expected(worlds):
        reasons[reason or "permit"] += 1
        key = touchpoint.key, purpose
        said, passed = found.pop(key, "not decided"), key in gated
        gated.discard(key)
        if said != reason or passed != (reason is None):
            wrong.append(Difference(world, touchpoint, purpose, reason, said, passed))
    assert not found and not gated, "decisions about touchpoints that do not exist"
    return wrong
