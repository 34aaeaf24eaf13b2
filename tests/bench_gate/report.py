"""The goals of the decision's speed, and the table that shows how near each is. Not here: measuring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench_gate.world import Size

MEMORY_MB = 4096


@dataclass(frozen=True)
class Measured:
    """One stage: median CPU seconds, every repetition, highest memory of its process, its output."""

    cpu: float
    runs: list[float]
    peak_mb: int
    result: Any
    detail: Any


@dataclass(frozen=True)
class Goal:
    """A ratio (or megabytes) with its goal; `met` is false where the goal is missed."""

    what: str
    value: float
    goal: str
    met: bool


Found = dict[str, Measured]


def goals(found: Found) -> list[Goal]:
    """The goals of issue 4 for what was measured."""

    def cpu(name: str) -> float:
        return max(found[name].cpu, 0.001)

    ratios: list[tuple[str, str, str, float, bool]] = [
        ("admission ÷ plain hash join", "gate", "join", 1.5, True),
        ("counts by reason ÷ plain hash join", "reasons", "join", 3.0, True),
        ("dbt build ÷ the same SQL by bare DuckDB", "dbt", "bare", 1.15, True),
        ("polars ÷ timeline and gate", "polars", "decision", 2.0, False),
        ("pandas ÷ timeline and gate", "pandas", "decision", 4.0, False),
        ("PySpark ÷ timeline and gate", "spark", "decision", 1.0, False),
    ]
    rows = []
    for what, above, below, limit, at_most in ratios:
        if above in found and below in found:
            value = cpu(above) / cpu(below)
            sign: Callable[[float, float], bool] = float.__le__ if at_most else float.__ge__
            rows.append(Goal(what, round(value, 2), f"{'≤' if at_most else '≥'} {limit:g}", sign(value, limit)))
    ours = [found[name].peak_mb for name in ("gate", "reasons", "timeline", "decision", "dbt") if name in found]
    rows.append(Goal("highest memory of ours, MB", max(ours), f"< {MEMORY_MB}", max(ours) < MEMORY_MB))
    return rows


def text(size: Size, found: Found, rows: list[Goal]) -> str:
    """Both tables, for people."""
    bound = max(found["join"].cpu, 0.001)
    lines = ["", f"{size.touchpoints:,} touchpoints, {size.events:,} ledger events, {size.people:,} people", ""]
    lines += [f"  {'stage':<10} {'CPU s':>9} {'÷ join':>8} {'peak MB':>9}"]
    for name, one in found.items():
        lines.append(f"  {name:<10} {one.cpu:>9.2f} {one.cpu / bound:>8.2f} {one.peak_mb:>9,}")
    lines += ["", f"  {'goal':<42} {'measured':>9} {'goal':>8}"]
    for row in rows:
        lines.append(f"  {row.what:<42} {row.value:>9,g} {row.goal:>8}  {'met' if row.met else 'MISSED'}")
    return "\n".join(lines)
