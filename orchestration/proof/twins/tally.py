"""What has been found of each relation and purpose, before it is a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestration.proof.twins.exposed import Exposed
from orchestration.proof.verdict import Failure, Verdict

Obligation = tuple[str, str, str]  # pair, kind, regime
Key = tuple[str, str | None]  # relation, purpose


@dataclass
class Tally:
    """What is said of one relation and purpose."""

    obligations: set[Obligation] = field(default_factory=set)
    broken: set[Obligation] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    rows: dict[Exposed, int] = field(default_factory=dict)

    def verdict(self, relation: str, purpose: str | None) -> Verdict:
        open_ones = len(self.broken) or (1 if self.failures else 0)
        count = max(len(self.obligations), open_ones)
        rows = sum(self.rows.values()) if self.rows else None
        return Verdict("twins", relation, purpose, count, count - open_ones, tuple(self.failures), rows)


@dataclass
class Tallies:
    """A tally of each."""

    of: dict[Key, Tally] = field(default_factory=dict)

    def __getitem__(self, exposed: Exposed) -> Tally:
        return self.at(exposed.relation, exposed.purpose)

    def at(self, relation: str, purpose: str | None) -> Tally:
        return self.of.setdefault((relation, purpose), Tally())

    def add(self, others: Mapping[Key, Tally]) -> None:
        """What was found elsewhere, after what is here."""
        for key, other in others.items():
            tally = self.at(*key)
            tally.obligations |= other.obligations
            tally.broken |= other.broken
            tally.failures += other.failures
            tally.rows |= other.rows

    @property
    def has_failed(self) -> bool:
        return any(tally.failures for tally in self.of.values())

    def verdicts(self) -> Iterable[Verdict]:
        return (tally.verdict(*key) for key, tally in sorted(self.of.items(), key=lambda item: str(item[0])))
