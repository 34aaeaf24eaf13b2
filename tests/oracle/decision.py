"""The decision about a touchpoint for a purpose: the first rule of design §4 that fails names the reason."""

from __future__ import annotations

from datetime import timedelta

from orchestration.policy.schema import Policy, Purpose
from tests.oracle.consent import Asked, is_minor, state, stated, strictest
from tests.oracle.facts import Node, Touchpoint, World
from tests.oracle.people import resolve

STATUSES = {"erased": "erased", "restricted": "restricted", "legal_hold": "legal_hold_use_blocked"}  # in this order


def decide(world: World, touchpoint: Touchpoint, purpose_name: str) -> str | None:
    """Permit (None) or exactly one reason."""
    purpose = world.purpose(purpose_name)
    category = touchpoint.category
    if touchpoint.source not in {s.name for s in world.policy.sources.sources}:
        return "unknown_source"
    if purpose is None:
        return "unknown_purpose"
    if category is None or category not in purpose.categories:
        return "category_not_allowed"
    if touchpoint.token is None:
        return "unresolved_identity"
    node = (touchpoint.controller, touchpoint.token)
    people = resolve(world)
    is_former = node in people.held_since and touchpoint.occurred_at < people.held_since[node]
    if node in people.shared or is_former:
        return "ambiguous_identity"
    status = status_of(world, node)
    if status is not None:
        return status
    if touchpoint.controller not in purpose.controllers:
        return "controller_mismatch"
    return _consented(world, touchpoint, node, Asked(touchpoint.controller, purpose, category))


def _consented(world: World, touchpoint: Touchpoint, node: Node, asked: Asked) -> str | None:
    """In force when collected and in force now, and kept no longer than policy says."""
    people = person(world, node)
    now = state(world, people, node, asked, world.as_of)
    if now == "no_consent":
        return _why_nothing(world, people, asked.purpose)
    if now is not None:
        return now
    if state(world, people, node, asked, touchpoint.occurred_at) is not None:
        was_minor = is_minor(world, resolve(world).group[node], touchpoint.occurred_at)
        return "minor_without_guardian" if was_minor else "before_consent"
    days = retention_days(world.policy, asked.purpose.name, asked.category)
    return "past_retention" if touchpoint.occurred_at < world.as_of - timedelta(days=days) else None


def _why_nothing(world: World, people: set[Node], purpose: Purpose) -> str:
    """Nothing is on record: was it given to another controller, is it a contract that is lacking, or a consent?"""
    for e in world.events:
        for controller, token in people:
            if e.decision == "grant" and e.purpose == purpose.name and e.token == token and e.controller != controller:
                return "controller_mismatch"
    return "no_contract" if strictest(stated(world, purpose)) == "contract" else "no_consent"


def person(world: World, node: Node) -> set[Node]:
    """The identifiers that are one person with `node`: its group where joining is permitted, else itself."""
    key = ("person", node)
    if key not in world.known:
        world.known[key] = _person(world, node)
    found: set[Node] = world.known[key]
    return found


def _person(world: World, node: Node) -> set[Node]:
    identity = world.purpose(world.policy.purposes.identity_purpose)
    assert identity is not None
    people = resolve(world)
    members = {n for n in people.members(people.group[node]) if n not in people.shared}
    strong = sorted(n for n in members if world.is_strong(n))
    if status_of(world, node) is not None or not strong or node[0] not in identity.controllers:
        return {node}
    asked = [Asked(node[0], identity, category) for category in identity.categories]
    joined = any(state(world, members, strong[0], one, world.as_of) is None for one in asked)
    return members if joined else {node}


def status_of(world: World, node: Node) -> str | None:
    """Erased, restricted or held, by any identifier that ever touched the person."""
    people = resolve(world)
    reaching = people.reaching(people.group[node])
    for status, reason in STATUSES.items():
        if any(world.is_on(one, status) for one in reaching):
            return reason
    return None


def retention_days(policy: Policy, purpose: str, category: str) -> int:
    """The purpose's own rule for the category, else the category's."""
    rules = [rule for rule in policy.retention.rules if rule.category == category]
    own = [rule.days for rule in rules if rule.purpose == purpose]
    return min(own or [rule.days for rule in rules if rule.purpose is None])
