"""What a decision may look at: records as they were told, and the world that holds them. Not here: any judgement."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestration.policy.schema import Policy, Purpose

Node = tuple[str, str]  # an identifier: controller, token


@dataclass(frozen=True)
class Event:
    """One consent record. Its place in the world's list is the order of arrival, which must not matter."""

    seq: int
    token: str
    controller: str
    purpose: str | None
    decision: str
    effective_at: datetime
    category: str | None = None
    recipient: str | None = None
    channel: str | None = None
    method: str | None = "explicit_click"
    is_separate: bool = False
    is_guardian: bool = False
    notice_id: str | None = "privacy"
    notice_version: str | None = "1"
    jurisdiction: str | None = None
    valid_until: datetime | None = None
    recorded_at: datetime | None = None

    @property
    def node(self) -> Node:
        return self.controller, self.token


@dataclass(frozen=True)
class Contract:
    seq: int
    token: str
    controller: str
    fact: str
    effective_at: datetime
    valid_until: datetime | None

    @property
    def node(self) -> Node:
        return self.controller, self.token


@dataclass(frozen=True)
class Age:
    token: str
    controller: str
    minor_until: datetime
    effective_at: datetime

    @property
    def node(self) -> Node:
        return self.controller, self.token


@dataclass(frozen=True)
class Status:
    """`erased`, `restricted` or `legal_hold`, switched on or off."""

    token: str
    controller: str
    status: str
    state: str
    effective_at: datetime

    @property
    def node(self) -> Node:
        return self.controller, self.token


@dataclass(frozen=True)
class Link:
    """These two identifiers are one human, or no longer."""

    controller: str
    a: str
    b: str
    effective_at: datetime
    is_unlink: bool = False
    recorded_at: datetime | None = None

    @property
    def ends(self) -> frozenset[Node]:
        return frozenset({(self.controller, self.a), (self.controller, self.b)})


@dataclass(frozen=True)
class Touchpoint:
    key: str
    token: str | None
    controller: str
    category: str | None
    occurred_at: datetime
    source: str = "web"


@dataclass
class World:
    """A few people, whatever is on record about them, and the policy that judges it at `as_of`."""

    policy: Policy
    as_of: datetime
    kinds: dict[Node, tuple[str, str]] = field(default_factory=dict)  # kind, issuer
    links: list[Link] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    contracts: list[Contract] = field(default_factory=list)
    ages: list[Age] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    touchpoints: list[Touchpoint] = field(default_factory=list)
    known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)  # answers already worked out

    def purpose(self, name: str) -> Purpose | None:
        return next((p for p in self.policy.purposes.purposes if p.name == name), None)

    def is_strong(self, node: Node) -> bool:
        kinds = self.policy.organisation.identifier_kinds
        return any(kind.strength == "strong" for kind in kinds if kind.name == self.kinds[node][0])

    def is_anchor(self, node: Node) -> bool:
        kinds = self.policy.organisation.identifier_kinds
        return any(kind.anchor for kind in kinds if kind.name == self.kinds[node][0])

    def is_on(self, node: Node, status: str) -> bool:
        """The last record holds, at one instant the restriction; dated ahead, a restriction acts at once, lifting
        waits."""
        told = [
            (min(s.effective_at, self.as_of), s.state == "on")
            for s in self.statuses
            if s.node == node and s.status == status and (s.state == "on" or s.effective_at <= self.as_of)
        ]
        return bool(told) and max(told)[1]

    def told(self) -> str:
        """The whole world as text, for whoever must find out why two evaluators differ."""
        records = [*self.links, *self.events, *self.contracts, *self.ages, *self.statuses, *self.touchpoints]
        return "\n".join([f"at {self.as_of}: {self.kinds}", *map(str, records)])
