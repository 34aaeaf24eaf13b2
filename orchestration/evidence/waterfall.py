"""The waterfall of one segment, from everybody to the exported, as bars in percent. Pure: rows in, bars out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ORDER = ("all", "known", "permitted", "in_segment")


@dataclass(frozen=True)
class Bar:
    """A step that stands on the left edge, or a loss that hangs between two steps. Percentages of everybody."""

    code: str
    people: int
    left: float
    width: float
    is_loss: bool
    destination: str | None = None


@dataclass(frozen=True)
class Waterfall:
    segment: str
    purpose: str
    bars: tuple[Bar, ...]
    people: int
    exported: int


def build(
    segment: str, purpose: str, rows: Sequence[Mapping[str, Any]], exports: Sequence[Mapping[str, Any]]
) -> Waterfall:
    """`rows` of governance.segment_waterfalls for one segment, `exports` of the summary for it."""
    totals = {row["step"]: int(row["people"]) for row in rows if row["step"] in ORDER and row["reason"] is None}
    everybody = totals.get("all", 0)
    bars: list[Bar] = []
    before = 0
    for step in ORDER:
        losses = {
            row["reason"]: int(row["people"]) for row in rows if row["step"] == step and row["reason"] is not None
        }
        bars.extend(_losses(losses, before, everybody, None))
        before = totals.get(step, 0)
        bars.append(_bar(step, before, 0, everybody))
    for export in exports:
        destination = export["destination"]
        bars.extend(_losses(export["withheld"], before, everybody, destination))
        bars.append(_bar("exported", export["rows"], 0, everybody, destination=destination))
    return Waterfall(segment, purpose, tuple(bars), before, sum(export["rows"] for export in exports))


def _losses(losses: Mapping[str, int], remaining: int, everybody: int, destination: str | None) -> list[Bar]:
    bars = []
    for reason, people in sorted(losses.items(), key=lambda item: (-item[1], item[0])):
        remaining -= people
        bars.append(_bar(reason, people, remaining, everybody, is_loss=True, destination=destination))
    return bars


def _bar(
    code: str, people: int, left: int, everybody: int, *, is_loss: bool = False, destination: str | None = None
) -> Bar:
    whole = max(everybody, 1)
    return Bar(code, people, 100 * max(left, 0) / whole, 100 * people / whole, is_loss, destination)
