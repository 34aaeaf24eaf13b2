"""The waterfall of one segment, from everybody to the exported, as bars in percent. Pure: rows in, bars out.

Bars are as long as the counts that are told: their length must not tell more (`shown.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.evidence.shown import Shown, Told

ORDER = ("all", "known", "permitted", "in_segment")


@dataclass(frozen=True)
class Bar:
    """A step that stands on the left edge, or a loss that hangs between two steps. Percentages of everybody."""

    code: str
    people: Told
    left: float
    width: float
    is_loss: bool
    destination: str | None = None


@dataclass(frozen=True)
class Waterfall:
    segment: str
    purpose: str
    bars: tuple[Bar, ...]
    people: Told
    exported: Told


def build(
    segment: str,
    purpose: str,
    rows: Sequence[Mapping[str, Any]],
    exports: Sequence[Mapping[str, Any]],
    shown: Shown,
) -> Waterfall:
    """`rows` of governance.segment_waterfalls for one segment, `exports` of the summary for it."""
    totals = {row["step"]: int(row["people"]) for row in rows if row["step"] in ORDER and row["reason"] is None}
    everybody = shown.tell(totals.get("all", 0)) or 0
    bars: list[Bar] = []
    before = 0
    for step in ORDER:
        after = totals.get(step, 0)
        losses = {
            row["reason"]: int(row["people"]) for row in rows if row["step"] == step and row["reason"] is not None
        }
        bars.extend(_losses(shown.tell_parts(losses, after), shown.tell(before), everybody, None))
        bars.append(_bar(step, shown.tell(after), 0, everybody))
        before = after
    for export in exports:
        destination = export["destination"]
        withheld = shown.tell_parts(export["withheld"], export["rows"])
        bars.extend(_losses(withheld, shown.tell(before), everybody, destination))
        bars.append(_bar("exported", shown.tell(export["rows"]), 0, everybody, destination=destination))
    exported = sum(export["rows"] for export in exports)
    return Waterfall(segment, purpose, tuple(bars), shown.tell(before), shown.tell(exported))


def _losses(losses: Mapping[str, Told], before: Told, everybody: int, destination: str | None) -> list[Bar]:
    bars, remaining = [], before or 0
    for reason, people in sorted(losses.items(), key=lambda item: (-(item[1] or 0), item[0])):
        remaining -= people or 0
        bars.append(_bar(reason, people, remaining, everybody, is_loss=True, destination=destination))
    return bars


def _bar(
    code: str, people: Told, left: int, everybody: int, *, is_loss: bool = False, destination: str | None = None
) -> Bar:
    whole = max(everybody, 1)
    return Bar(code, people, 100 * max(left, 0) / whole, 100 * (people or 0) / whole, is_loss, destination)
