"""What retention lets go, and why: pure, from the policy and what is there. Not here: finding it (`facts.py`).

Days are of 24 hours and count from the item's own time: at `at + days`, to the second, it goes, and not before.
A source under legal hold keeps its items, whatever their age; that its data may not be used is decided elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestration.policy.loader import scopes
from orchestration.policy.schema import Policy
from orchestration.policy.tables import retention_days

# In the order in which they go: what was delivered before what was removed again, so that a kill between the two lists
# too many removals, never too few; copies of what the lake holds after the lake.
DATASETS = (
    "touchpoints", "settled", "links", "quarantine", "archive", "vault", "deliveries", "removals", "contact_points",
    "exports", "generations", "dbt", "runs", "backups",
)  # fmt: skip
# What can be made again, is meant to end whole, or got its last day when it was written, needs no second look.
UNGUARDED = frozenset({"archive", "exports", "generations", "dbt", "runs", "backups"})
BY_SOURCE = ("touchpoints", "settled", "archive")
# Their items carry the day on which they are due: an archived file in its name, a settled row by its generation.
DATED = ("settled", "archive")
NIGHTS = 2  # a rule of few days takes much each night by itself: what this many nights take never stops it


@dataclass(frozen=True)
class Item:
    """Something that has an age: a file, a run, the contacts that lost their purpose at one instant."""

    dataset: str
    name: str  # relative to the home; never a token
    at: datetime  # its own time, from which its days count
    units: int  # rows, files or runs
    source: str | None = None
    keep: str | None = None  # why it stays whatever its age: it is in force, or somebody in it is under legal hold


@dataclass(frozen=True)
class Part:
    """One dataset (of one source): what goes, what a hold defers, of how many units."""

    dataset: str
    source: str | None
    days: int
    limit: float  # the share above which it waits for somebody's confirmation
    goes: tuple[Item, ...]
    deferred: tuple[Item, ...]
    total: int

    @property
    def name(self) -> str:
        return self.dataset if self.source is None else f"{self.dataset}:{self.source}"

    @property
    def units(self) -> int:
        return sum(item.units for item in self.goes)

    @property
    def share(self) -> float:
        return self.units / self.total if self.total else 0.0

    @property
    def is_stopped(self) -> bool:
        return self.dataset not in UNGUARDED and self.share > self.limit


@dataclass(frozen=True)
class Plan:
    """What goes at `clock`. `id` names exactly what is stopped, for whoever has looked at it and confirms."""

    clock: datetime
    policy_hash: str
    parts: tuple[Part, ...]

    @property
    def stopped(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.is_stopped)

    @property
    def id(self) -> str | None:
        if not self.stopped:
            return None
        content = [self.policy_hash, [[part.name, sorted(item.name for item in part.goes)] for part in self.stopped]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    def going(self, confirmed: str | None) -> tuple[Part, ...]:
        """The parts that go now: those that nothing stops, and the others where their plan is confirmed."""
        return tuple(p for p in self.parts if p.goes and (not p.is_stopped or confirmed == self.id))


def plan_deletions(
    policy: Policy, items: Iterable[Item], *, as_of: datetime, now: datetime, policy_hash: str, is_demo: bool = False
) -> Plan:
    """The plan at the earlier of T and the wall clock: a clock that runs ahead, or a T in the future, deletes nothing
    that is not due by both (H7). Of a demo, whose world can be made again, nothing waits for a second look."""
    clock = min(as_of, now)
    grouped: dict[tuple[int, str], list[Item]] = {}
    for item in items:
        source = item.source if item.dataset in BY_SOURCE else None
        grouped.setdefault((DATASETS.index(item.dataset), source or ""), []).append(item)
    found = [_part(policy, same, source or None, clock) for (_, source), same in sorted(grouped.items())]
    parts = [replace(part, limit=1.0) if is_demo else part for part in found if part is not None]
    return Plan(clock, policy_hash, tuple(parts))


def _part(policy: Policy, items: Sequence[Item], source: str | None, clock: datetime) -> Part | None:
    dataset = items[0].dataset
    days = days_of(policy, dataset, source)
    if days is None:
        return None
    due = [item for item in items if is_due(item.at, 0 if dataset in DATED else days, clock)]
    held = [item for item in due if item.keep is not None or item.source in policy.retention.legal_holds]
    share = NIGHTS / (days + 1) if dataset != "settled" else 0.0  # the lake is far longer than its window
    limit = max(policy.retention.max_share, share)
    return Part(
        dataset,
        source,
        days,
        limit,
        tuple(item for item in due if item not in held),
        tuple(held),
        sum(item.units for item in items),
    )


def is_due(at: datetime, days: int, clock: datetime) -> bool:
    """Whether `days` of 24 hours have passed since `at`. No months or years are ever counted (B10)."""
    return at + timedelta(days=days) <= clock


def days_of(policy: Policy, dataset: str, source: str | None = None) -> int | None:
    """The days of one dataset by the policy; None: it is kept until something else ends it."""
    retention = policy.retention
    if dataset == "touchpoints":
        return longest_days(policy, source or "")
    if dataset == "links":
        return retention.links_days
    if dataset == "settled":
        return retention.late_consent_window_days
    if dataset == "archive":
        return next((s.after_ingest.keep_days for s in policy.sources.sources if s.name == source), None)
    name = "deliveries" if dataset in ("removals", "contact_points") else dataset  # the logs of who was reached
    return int(getattr(retention.datasets, name))


def longest_days(policy: Policy, source: str) -> int | None:
    """How long any purpose may use anything of the source: after that its whole day goes. Shorter rules of some of its
    rows act at once on use, and remove those rows when the day is settled. None for a source that policy lacks: what
    its rows were is not known any more."""
    found = next((s for s in policy.sources.sources if s.name == source), None)
    if found is None:
        return None
    categories = {event.category for event in found.events}
    if policy.minimisation.sensitive_values:
        categories |= {"sensitive"}
    days = [
        retention_days(policy, scope.category, scope.purpose)
        for scope in scopes(policy)
        if scope.controller == found.controller and scope.category in categories
    ]
    known = [number for number in days if number is not None]
    general = [rule.days for rule in policy.retention.rules if rule.category in categories and rule.purpose is None]
    return max(known or general, default=None)
