"""What a part of the proof says of one exposed relation: how many obligations it had, how many hold, what is wrong.

Nothing in it holds a person's value: names of relations and columns, places in SQL, counts, codes of policy. Not here:
how anything is proved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Part = Literal["static", "twins", "canaries"]
PARTS: tuple[Part, ...] = ("static", "twins", "canaries")


@dataclass(frozen=True)
class Failure:
    """A counter-example. `path` is read from where the data comes from to where it is exposed, a step in words each."""

    what: str
    path: tuple[str, ...]
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """One part of the proof on one relation, for one purpose (None: it has none, or all). `rows`: how many rows twins
    had to compare; where it is 0, all that is shown is that nobody came in."""

    part: Part
    relation: str
    purpose: str | None
    obligations: int
    discharged: int
    failures: tuple[Failure, ...] = ()
    rows: int | None = None

    @property
    def is_proved(self) -> bool:
        """Whether it had something to prove and proved all of it: without obligations nothing is shown."""
        return self.obligations > 0 and self.discharged == self.obligations and not self.failures


def are_proved(verdicts: Iterable[Verdict]) -> bool:
    """Whether there are verdicts and each is proved."""
    each = [verdict.is_proved for verdict in verdicts]
    return bool(each) and all(each)


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as `assent prove --json` and the evidence tell it."""
    return {**asdict(verdict), "is_proved": verdict.is_proved}
