"""What counts of people may look like to people: the one rule by which small groups and differences stay untold.

A count below policy's minimum is not told, any other is rounded down, totals too; and where the total and the other
parts would still fix a count that is not told, a further part is not told either, or none. So neither a small group
nor that somebody joined or left can be worked out from totals, two segments or two generations (fault E8). Evidence
keeps exact numbers, since they must sum up: it lies in files that only the home's owner reads. Not here: touchpoints,
which are no people, and the minimum size below which a segment is not delivered at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.policy.schema import Policy

Told = int | None  # None: it is not told
NOT_TOLD = "–"


@dataclass(frozen=True)
class Shown:
    """Policy's rule: counts from `minimum` on are told, as multiples of `step`, of which the minimum is one."""

    minimum: int
    step: int

    @classmethod
    def of(cls, policy: Policy) -> Shown:
        rule = policy.organisation.shown_counts
        return cls(rule.minimum, rule.rounded_to)

    def tell(self, people: int) -> Told:
        """One count. Nobody is told as 0: that nobody is somewhere names nobody who is."""
        return None if 0 < people < self.minimum else people // self.step * self.step

    def tell_parts(self, parts: Mapping[str, int], rest: int = 0) -> dict[str, Told]:
        """The parts of a total that is told beside them, and of which `rest` is told as well. None at all, not even by
        name, where the total fixes what nothing is left to hide: six people in three parts of two each, of a rule of
        three."""
        told = {name: self.tell(people) for name, people in parts.items()}
        total = sum(parts.values()) + rest
        further = sorted((people, name) for name, people in parts.items() if told[name])
        is_fixed = self._fixes(total, told, rest, is_small=True)
        while is_fixed and further:
            told[further.pop(0)[1]] = None
            is_fixed = self._fixes(total, told, rest, is_small=False)
        return {} if is_fixed else told

    def _fixes(self, total: int, told: Mapping[str, Told], rest: int, *, is_small: bool) -> bool:
        """Can what is not told be worked out? It can where all of it must be at its least, or at its most: there is one
        where everything that is not told `is_small`."""
        untold = sum(people is None for people in told.values())
        if not untold or self.tell(total) is None:
            return False
        seen = [self._range(self.tell(people) or 0) for people in (total, *([rest] if self.tell(rest) else []))]
        others = [self._range(people) for people in told.values() if people is not None] + seen[1:]
        untold += self.tell(rest) is None
        most = seen[0][1] - sum(low for low, _ in others)
        least = seen[0][0] - sum(high for _, high in others)
        return most <= untold or (is_small and least >= untold * (self.minimum - 1))

    def _range(self, told: int) -> tuple[int, int]:
        """The counts that are told so."""
        return (told, told + self.step - 1) if told else (0, 0)

    def write(self, people: int) -> str:
        return self.written(self.tell(people))

    def written(self, told: Told) -> str:
        return NOT_TOLD if told is None else f"{told:,}"

    def export(self, export: Mapping[str, Any]) -> dict[str, Any]:
        """One export of a summary, with its counts as they are told: its rows and who was withheld are the segment."""
        told = {name: self.tell(export[name]) for name in ("rows", "removals")}
        return {**export, **told, "withheld": self.tell_parts(export["withheld"], export["rows"])}

    def rule(self) -> dict[str, int]:
        """For JSON: what its numbers mean; null is one that is not told."""
        return {"minimum": self.minimum, "rounded_to": self.step}

    @property
    def note(self) -> str:
        """For text, under the numbers; nothing where policy wants them exact."""
        if self.minimum == self.step == 1:
            return ""
        down = f"People are rounded down to a multiple of {self.step}"
        return f"{down}; {NOT_TOLD} is not told: fewer than {self.minimum}, or what would tell them"
