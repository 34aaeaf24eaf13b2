"""A slow, plain evaluator of the consent decision, written from design §4 alone: the oracle of the dbt models.

It knows nothing of intervals, masks or SQL. One touchpoint, one purpose, one instant at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestration.policy.schema import Policy, Purpose

RESTRICTIONS = {
    "deny": "denied",
    "withdraw": "withdrawn",
    "object": "objected",
    "opt_out": "opted_out",
    "presumed_denial": "denied",
}
EXPLICIT = {"explicit_click", "written", "verbal_recorded", "signed_form", "double_opt_in"}
STRICTEST = ["none", "separate_consent", "consent", "contract", "opt_out"]


@dataclass(frozen=True)
class Event:
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


@dataclass(frozen=True)
class Contract:
    seq: int
    token: str
    controller: str
    fact: str
    effective_at: datetime
    valid_until: datetime | None


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
    """Everything the decision may look at. Identifiers are (controller, token)."""

    policy: Policy
    as_of: datetime
    strong: dict[tuple[str, str], bool]
    group: dict[tuple[str, str], int]
    ambiguous: set[tuple[str, str]] = field(default_factory=set)
    reach: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    contracts: list[Contract] = field(default_factory=list)
    minor_until: dict[tuple[str, str], datetime] = field(default_factory=dict)
    statuses: dict[tuple[str, str], str] = field(default_factory=dict)

    def purpose(self, name: str) -> Purpose | None:
        return next((p for p in self.policy.purposes.purposes if p.name == name), None)

    def reaching(self, group: int) -> set[tuple[str, str]]:
        return {node for node, groups in self.reach.items() if group in groups}


@dataclass(frozen=True)
class Grant:
    node: tuple[str, str]
    at: datetime
    ends: datetime | None
    end_reason: str
    problem: str | None


def basis(world: World, group: int, purpose: Purpose) -> str:
    """The strictest of the evidenced regimes' bases; of nobody's, and where only a refusal tells, the strictest of all
    that the purpose states, opt-out read as consent. A contract and a consent never stand for each other."""
    organisation, here = world.policy.organisation, world.reaching(group)
    regime_of = {j.code: j.regime for j in organisation.jurisdictions}
    evidence = [e for e in world.events if e.jurisdiction is not None and (e.controller, e.token) in here]
    regimes = [regime_of.get(e.jurisdiction or "") for e in evidence]
    told = [
        regime
        for e, regime in zip(evidence, regimes, strict=True)
        if e.decision == "grant" and e.effective_at <= world.as_of
    ]
    asked = {purpose.basis.get(regime, "none") for regime in regimes if regime is not None}
    return _strictest(asked if any(told) and None not in regimes else asked | _stated(world, purpose))


def _stated(world: World, purpose: Purpose) -> set[str]:
    stated = {"consent" if b == "opt_out" else b for b in purpose.basis.values()}
    return stated if world.policy.organisation.default_regime in purpose.basis else {*stated, "none"}


def _strictest(asked: set[str]) -> str:
    return "none" if "contract" in asked and len(asked) > 1 else min(asked, key=STRICTEST.index)


def is_minor(world: World, group: int, at: datetime) -> bool:
    known = [until for node, until in world.minor_until.items() if node in world.reaching(group)]
    return at < max(known) if known else world.policy.organisation.unknown_age == "minor"


def _ends(world: World, event: Event, purpose: Purpose) -> tuple[datetime | None, str]:
    """When a grant stops counting by itself, and why."""
    ends: list[tuple[datetime, str]] = []
    if event.valid_until is not None:
        ends.append((event.valid_until, "expired"))
    if purpose.max_consent_age_days is not None:
        ends.append((event.effective_at + timedelta(days=purpose.max_consent_age_days), "expired"))
    for notice in world.policy.notices.notices:
        published = {v.version: v.published_at for v in notice.versions}
        if notice.id == event.notice_id and event.notice_version in published:
            ends += [
                (v.published_at, "notice_superseded")
                for v in notice.versions
                if v.renews_consent and v.published_at > published[event.notice_version]
            ]
    first = min((at for at, _ in ends), default=None)
    reasons = {reason for at, reason in ends if at == first}
    return first, "notice_superseded" if "notice_superseded" in reasons else "expired"


def _problem(world: World, event: Event, purpose: Purpose, category: str, group: int) -> str | None:
    """Why a grant does not count, the first rule that fails."""
    needed = basis(world, group, purpose)
    if is_minor(world, group, event.effective_at) and not event.is_guardian:
        return "minor_without_guardian"
    if needed == "none":
        return "no_consent"
    if needed == "contract":
        return "no_contract"
    if purpose.explicit and event.method not in EXPLICIT:
        return "not_explicit"
    if (category in purpose.separate_consent_for or needed == "separate_consent") and not event.is_separate:
        return "needs_separate_consent"
    published = [
        v.published_at
        for n in world.policy.notices.notices
        for v in n.versions
        if n.id == event.notice_id and v.version == event.notice_version and purpose.name in (v.purposes or n.purposes)
    ]
    if not published or published[0] > event.effective_at:
        return "notice_unknown"
    ends, why = _ends(world, event, purpose)
    if ends is not None and ends <= event.effective_at:
        return why
    return None


def covers(event: Event, controller: str, purpose: Purpose, category: str) -> bool:
    restricts = event.decision != "grant"
    if event.controller != controller or (event.purpose != purpose.name and not (event.purpose is None and restricts)):
        return False
    if event.category is not None and event.category != category:
        return False
    if event.category is None and not restricts:
        since = purpose.category_since.get(category)  # type: ignore[call-overload]
        if category == "sensitive" or (since is not None and event.effective_at < since):
            return False
    if event.recipient is not None:
        return event.recipient == purpose.recipient or (restricts and event.purpose is not None)
    return restricts or purpose.recipient == "own"


def grants(world: World, controller: str, purpose: Purpose, category: str) -> Iterable[Grant]:
    for e in world.events:
        node = (e.controller, e.token)
        if e.decision != "grant" or e.effective_at > world.as_of or not covers(e, controller, purpose, category):
            continue
        ends, why = _ends(world, e, purpose)
        yield Grant(node, e.effective_at, ends, why, _problem(world, e, purpose, category, world.group[node]))
    for c in world.contracts:
        node = (c.controller, c.token)
        if c.controller != controller or c.fact not in purpose.contract_facts or c.effective_at > world.as_of:
            continue
        if basis(world, world.group[node], purpose) != "contract":
            continue
        problem = "minor_without_guardian" if is_minor(world, world.group[node], c.effective_at) else None
        if problem is None and c.valid_until is not None and c.valid_until <= c.effective_at:
            problem = "no_contract"
        yield Grant(node, c.effective_at, c.valid_until, "no_contract", problem)
    for node, group in world.group.items():
        if node[0] == controller and _evidenced(world, group) and basis(world, group, purpose) == "opt_out":
            problem = "minor_without_guardian" if is_minor(world, group, world.as_of) else None
            begins = [datetime.min.replace(tzinfo=world.as_of.tzinfo)]
            begins += [
                until for n, until in world.minor_until.items() if n in world.reaching(group) and problem is None
            ]
            begins += [at for c, at in purpose.category_since.items() if c == category]
            if max(begins) <= world.as_of:
                yield Grant(node, max(begins), None, "expired", problem)


def _evidenced(world: World, group: int) -> bool:
    nodes = world.reaching(group)
    return any(e.jurisdiction is not None and (e.controller, e.token) in nodes for e in world.events)


def denials(
    world: World, controller: str, purpose: Purpose, category: str
) -> Iterable[tuple[tuple[str, str], datetime, str]]:
    for e in world.events:
        if e.decision == "grant" or e.channel is not None or not covers(e, controller, purpose, category):
            continue
        needed = basis(world, world.group[(e.controller, e.token)], purpose)
        if needed == "contract" and e.purpose is None and e.decision != "presumed_denial":
            continue
        reason = (
            "opted_out" if needed == "opt_out" else RESTRICTIONS.get(e.decision, "denied")
        )  # an unknown decision restricts
        yield (e.controller, e.token), min(e.effective_at, world.as_of), reason


def state(
    world: World,
    people: set[tuple[str, str]],
    own: tuple[str, str],
    group: int,
    purpose: Purpose,
    category: str,
    at: datetime,
) -> str | None:
    """The reason at `at` for the person `people` seen through the identifier `own`; None permits."""
    controller = own[0]
    every = [g for g in grants(world, controller, purpose, category) if g.at <= at]
    counting = [g for g in every if g.node in people and (world.strong[g.node] or g.node == own)]
    good = [g for g in counting if g.problem is None]
    outstanding = [
        (td, reason)
        for node, td, reason in denials(world, controller, purpose, category)
        if td <= at
        and group in world.reach[node]
        and not any(td < g.at and world.strong[g.node] for g in good)
        and not (
            not world.strong[node]
            and node not in world.ambiguous
            and any(td < g.at and g.node == node and g.problem is None for g in every)
        )
    ]
    if outstanding:
        return max(outstanding)[1]
    never = datetime.max.replace(tzinfo=at.tzinfo)
    ordered = sorted(good, key=lambda g: (g.at, never - (g.ends or never)))  # of two at one instant, the shorter holds
    latest = ordered[-1] if ordered else None
    if latest is not None and (latest.ends is None or at < latest.ends):
        return None
    marks = [(g.at, 1, g.problem) for g in counting if g.problem is not None]
    for index, g in enumerate(ordered):
        replaced = ordered[index + 1].at if index + 1 < len(ordered) else None
        if g.ends is not None and g.ends <= at and (replaced is None or g.ends <= replaced):
            marks.append((g.ends, 0, g.end_reason))
    return max(marks)[2] if marks else "no_consent"


def person(world: World, node: tuple[str, str]) -> set[tuple[str, str]]:
    """The identifiers that are one person with `node`: its group where joining is permitted, else itself."""
    identity = world.purpose(world.policy.purposes.identity_purpose)
    assert identity is not None
    group = world.group[node]
    members = {n for n, g in world.group.items() if g == group and n not in world.ambiguous}
    strong = [n for n in members if world.strong[n]]
    if _status(world, group) is not None or not strong or node[0] not in identity.controllers:
        return {node}
    joined = any(state(world, members, strong[0], group, identity, c, world.as_of) is None for c in identity.categories)
    return members if joined else {node}


def _status(world: World, group: int) -> str | None:
    found = {status for node, status in world.statuses.items() if group in world.reach[node]}
    for status, reason in (
        ("erased", "erased"),
        ("restricted", "restricted"),
        ("legal_hold", "legal_hold_use_blocked"),
    ):
        if status in found:
            return reason
    return None


def retention_days(policy: Policy, purpose: str, category: str) -> int:
    rules = [r for r in policy.retention.rules if r.category == category and r.purpose in (purpose, None)]
    return min(r.days for r in rules if r.purpose == purpose or not any(s.purpose == purpose for s in rules))


def decide(world: World, touchpoint: Touchpoint, purpose_name: str) -> str | None:
    """Permit (None) or exactly one reason, in the order of design §4."""
    purpose = world.purpose(purpose_name)
    if touchpoint.source not in {s.name for s in world.policy.sources.sources}:
        return "unknown_source"
    if purpose is None:
        return "unknown_purpose"
    category = touchpoint.category
    if category is None or category not in purpose.categories:
        return "category_not_allowed"
    if touchpoint.token is None:
        return "unresolved_identity"
    node = (touchpoint.controller, touchpoint.token)
    if node in world.ambiguous:
        return "ambiguous_identity"
    group = world.group[node]
    status = _status(world, group)
    if status is not None:
        return status
    if touchpoint.controller not in purpose.controllers:
        return "controller_mismatch"
    people = person(world, node)
    now = state(world, people, node, group, purpose, category, world.as_of)
    if now == "no_consent":
        elsewhere = any(
            e.decision == "grant" and e.purpose == purpose.name and e.controller != n[0] and e.token == n[1]
            for e in world.events
            for n in people
        )
        if elsewhere:
            return "controller_mismatch"
        return "no_contract" if _strictest(_stated(world, purpose)) == "contract" else "no_consent"
    if now is not None:
        return now
    if state(world, people, node, group, purpose, category, touchpoint.occurred_at) is not None:
        was_minor = is_minor(world, group, touchpoint.occurred_at)
        return "minor_without_guardian" if was_minor else "before_consent"
    kept_from = world.as_of - timedelta(days=retention_days(world.policy, purpose.name, category))
    return "past_retention" if touchpoint.occurred_at < kept_from else None
