"""Whole small worlds by chance: people, identifiers, links, histories on both clocks, touchpoints, and policies.

Chance is dice that Hypothesis or a seed throws; the first of the options is always the simplest, so that a world
shrinks. Not here: how a world reaches a database (`tests/staged.py`)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from orchestration.policy.schema import Notice, Policy, Purpose, Regime
from tests.oracle import Age, Contract, Event, Link, Status, Touchpoint, World
from tests.oracle.facts import Node

T = TypeVar("T")
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
# Few instants, so that ties are common; around the edges of retention, notices and consent ages, and a second off.
DAYS = (1, 0, 2, 3, 10, 29, 30, 61, 70, 100, 180, 200, 365, 400, 730, 800, 1095)
INSTANTS = [AS_OF - timedelta(days=d) for d in DAYS] + [
    AS_OF - timedelta(days=d, seconds=s) for d in (2, 70) for s in (-1, 1)
]
AHEAD = [AS_OF + timedelta(seconds=1), AS_OF + timedelta(days=1)]
# Anchors first: worlds of people that meet are those of which resolving decides most.
KINDS = {
    "member": "loyalty", "account": "shop", "phone": "e164", "cookie": "shop.example.com", "unionid": "open.shop",
    "email": "email", "openid": "wx-oa-shop", "device": "shop.app", "push": "shop.app",
}  # fmt: skip
DECISIONS = [
    *["grant"] * 12, *["withdraw"] * 4, "deny", "deny", "object", "opt_out", "presumed_denial", "unheard_of",
]  # fmt: skip
REGIMES: tuple[Regime, ...] = ("PIPL", "GDPR", "CCPA")
METHODS = ["explicit_click"] * 12 + ["signed_form", "pre_ticked", "never_heard_of", None]


@dataclass(frozen=True)
class Dice:
    """`throw(n)` gives a number below n."""

    throw: Callable[[int], int]

    def choice(self, options: Sequence[T]) -> T:
        return options[self.throw(len(options))]

    def chance(self, percent: int) -> bool:
        return self.throw(100) >= 100 - percent

    def between(self, low: int, high: int) -> int:
        return low + self.throw(high - low + 1)


def seeded(seed: int) -> Dice:
    return Dice(random.Random(seed).randrange)


@dataclass(frozen=True)
class Theme:
    """What one world is about, so that its records meet: a purpose or two, a jurisdiction, a handful of instants."""

    purposes: list[Purpose]
    jurisdiction: str | None
    instants: list[datetime]


def random_world(dice: Dice, policy: Policy, number: int) -> World:
    """One to three people's identifiers under one or two controllers, and what is on record about them."""
    theme = Theme(
        [dice.choice(policy.purposes.purposes) for _ in range(dice.choice([1, 1, 2]))],
        dice.choice([None, "CN", "CN", "DE", "US-CA", "US-CA", "XX"]),
        [dice.choice(INSTANTS) for _ in range(dice.choice([3, 4, 6]))],
    )
    world = World(policy, AS_OF)
    for person in range(dice.choice([1, 1, 1, 2, 3])):
        _add_person(dice, world, theme, f"w{number}p{person}")
    nodes = sorted(world.kinds)
    if dice.chance(15):  # the same identifier is known to the other controller too
        controller, token = dice.choice(nodes)
        world.kinds["clinic" if controller == "shop" else "shop", token] = world.kinds[controller, token]
    if dice.chance(30):
        _add_doubtful_links(dice, world, theme)
    _add_consents(dice, world, theme, number)
    _add_facts(dice, world, theme, number)
    _add_touchpoints(dice, world, theme, number)
    return world


def _add_person(dice: Dice, world: World, theme: Theme, name: str) -> None:
    controller = dice.choice([*theme.purposes[0].controllers, "shop", "clinic"])
    mine: list[str] = []
    for index in range(dice.choice([1, 2, 2, 3, 4])):
        token = f"{name}i{index}"
        kind = dice.choice(list(KINDS))
        world.kinds[controller, token] = kind, KINDS[kind]
        if mine and dice.chance(85):
            world.links.append(Link(controller, dice.choice(mine), token, dice.choice(INSTANTS[-6:])))
        mine.append(token)


def _add_doubtful_links(dice: Dice, world: World, theme: Theme) -> None:
    """Links between people, twice over, dated ahead, and undone."""
    for _ in range(dice.between(1, 4)):
        controller, a = dice.choice(sorted(world.kinds))
        b = dice.choice([token for its, token in sorted(world.kinds) if its == controller])
        at = dice.choice([*theme.instants, *AHEAD])
        world.links.append(Link(controller, a, b, at, dice.chance(25)))
    if world.links and dice.chance(40):
        undone = dice.choice(world.links)
        at = dice.choice([undone.effective_at, *theme.instants, *AHEAD])
        world.links.append(Link(undone.controller, undone.b, undone.a, at, True))


def _add_consents(dice: Dice, world: World, theme: Theme, number: int) -> None:
    nodes = sorted(world.kinds)
    events = [random_event(dice, world, theme, dice.choice(nodes)) for _ in range(dice.between(0, 6))]
    grants = [e for e in events if e.decision == "grant"]
    if grants and dice.chance(30):  # a denial of the same instant, from the same person or another
        tied = dice.choice(grants)
        controller, token = tied.node if dice.chance(70) else dice.choice(nodes)
        events.append(Event(0, token, controller, tied.purpose, "withdraw", tied.effective_at))
    if dice.chance(60):  # most worlds of several identifiers are about joining
        at = AS_OF - timedelta(days=dice.choice([1, 70, 400]))
        joining = world.policy.purposes.identity_purpose
        events += [
            Event(0, token, controller, joining, "grant", at, is_separate=True, jurisdiction=theme.jurisdiction)
            for controller, token in nodes
            if world.is_strong((controller, token))
        ]
    order = list(range(len(events)))  # of arrival: it must not matter
    for event in events:
        world.events.append(replace(event, seq=number * 100 + order.pop(dice.throw(len(order)))))


def random_event(dice: Dice, world: World, theme: Theme, node: Node) -> Event:
    """A consent record that makes sense more often than not."""
    notices = world.policy.notices.notices
    purpose = dice.choice(theme.purposes) if dice.chance(85) else dice.choice(world.policy.purposes.purposes)
    decision = dice.choice(DECISIONS)
    fitting = [n.id for n in notices if purpose.name in n.purposes and not dice.chance(10)]
    notice = dice.choice(fitting or ["privacy", "partner", None])
    at = dice.choice([*theme.instants, *theme.instants, AS_OF + timedelta(days=1)])
    return Event(
        seq=0,
        token=node[1],
        controller=node[0],
        purpose=None if decision != "grant" and dice.chance(20) else purpose.name,
        decision=decision,
        effective_at=at,
        category=dice.choice([None] * 4 + list(purpose.categories)),
        recipient=dice.choice([None, purpose.recipient, purpose.recipient, purpose.recipient, "own"]),
        channel=dice.choice([None] * 7 + ["sms"]),
        method=dice.choice(METHODS),
        is_separate=not dice.chance(40),
        is_guardian=dice.chance(20),
        notice_id=notice,
        notice_version=dice.choice(["1", "1", "1", "2", "9"]) if notice else None,
        jurisdiction=theme.jurisdiction if not dice.chance(15) else dice.choice([None, "CN", "DE", "US-CA", "XX"]),
        valid_until=dice.choice([None] * 6 + [*theme.instants[:2], AS_OF + timedelta(days=5)]),
        recorded_at=max(at, dice.choice(theme.instants)),
    )


def _add_facts(dice: Dice, world: World, theme: Theme, number: int) -> None:
    nodes = sorted(world.kinds)
    for index in range(dice.choice([0, 1, 1, 2] if theme.purposes[0].contract_facts else [0, 0, 0, 1])):
        controller, token = dice.choice(nodes)
        until = dice.choice([None, *theme.instants, AS_OF + timedelta(days=30)])
        fact = dice.choice([*theme.purposes[0].contract_facts, "membership", "prepaid_card", "appointment"])
        at = dice.choice([*theme.instants, *theme.instants, *AHEAD])
        world.contracts.append(Contract(number * 100 + 50 + index, token, controller, fact, at, until))
    for _ in range(dice.choice([0] * 6 + [1, 1, 2])):
        controller, token = dice.choice(nodes)
        until = dice.choice([AS_OF + timedelta(days=900), AS_OF, *theme.instants, *AHEAD])
        world.ages.append(Age(token, controller, until, dice.choice(theme.instants)))
    for _ in range(dice.choice([0] * 12 + [1, 2])):
        controller, token = dice.choice(nodes)
        status = dice.choice(["erased", "restricted", "legal_hold"])
        world.statuses.append(Status(token, controller, status, "on", dice.choice([*theme.instants, *AHEAD])))
        if dice.chance(50):  # lifted, perhaps only after T
            world.statuses.append(Status(token, controller, status, "off", dice.choice([*theme.instants, *AHEAD])))


def _add_touchpoints(dice: Dice, world: World, theme: Theme, number: int) -> None:
    """Mostly of the identifiers and categories that the world's events speak of; some of nobody, some unknown."""
    nodes = sorted(world.kinds)
    for index in range(dice.between(1, 4)):
        controller, token = dice.choice(nodes)
        category: str | None = dice.choice(dice.choice(theme.purposes).categories)
        if dice.chance(8):
            category = dice.choice(["behaviour", "transaction", "identification", "preference", "sensitive", None])
        is_somebody = not dice.chance(3)
        world.touchpoints.append(
            Touchpoint(
                key=f"w{number}t{index}",
                token=token if is_somebody else None,
                controller=controller,
                category=category,
                occurred_at=dice.choice([*theme.instants, *INSTANTS[:4]]),
                source="elsewhere" if dice.chance(2) else "app" if category == "preference" else "web",
            )
        )


def random_policy(dice: Dice, shipped: Policy) -> Policy:
    """The shipped policy, or one that differs in the rules that reach SQL as data."""
    if dice.chance(10):
        return shipped
    org = shipped.organisation
    kept = tuple(j for j in org.jurisdictions if not dice.chance(10))
    organisation = org.model_copy(
        update={
            "unknown_age": dice.choice(["adult", "adult", "adult", "minor"]),
            "default_regime": dice.choice(["PIPL", "PIPL", "GDPR", "CCPA"]),
            "jurisdictions": kept,
        }
    )
    purposes = tuple(_random_purpose(dice, purpose) for purpose in shipped.purposes.purposes)
    rules = tuple(r.model_copy(update={"days": dice.choice([r.days, r.days, 30, 70])}) for r in shipped.retention.rules)
    notices = tuple(_random_notice(dice, notice) for notice in shipped.notices.notices)
    return shipped.model_copy(
        update={
            "organisation": organisation,
            "purposes": shipped.purposes.model_copy(update={"purposes": purposes}),
            "retention": shipped.retention.model_copy(update={"rules": rules}),
            "notices": shipped.notices.model_copy(update={"notices": notices}),
        }
    )


def _random_purpose(dice: Dice, purpose: Purpose) -> Purpose:
    if dice.chance(50):
        return purpose
    bases = ["consent", "consent", "separate_consent", "opt_out", "contract", None]
    basis = {regime: dice.choice([purpose.basis.get(regime), *bases]) for regime in REGIMES}
    separate = [c for c in purpose.categories if dice.chance(60 if c == "sensitive" else 20)]
    return purpose.model_copy(
        update={
            "basis": {regime: found for regime, found in basis.items() if found is not None},
            "explicit": not dice.chance(30),
            "max_consent_age_days": dice.choice([purpose.max_consent_age_days, None, 30, 365]),
            "separate_consent_for": tuple(separate),
            "category_since": {c: dice.choice(INSTANTS) for c in purpose.categories if dice.chance(15)},
            "contract_facts": dice.choice([("membership",), purpose.contract_facts, ("prepaid_card", "appointment")]),
        }
    )


def _random_notice(dice: Dice, notice: Notice) -> Notice:
    if dice.chance(60):
        return notice
    versions = tuple(
        v.model_copy(
            update={
                "published_at": dice.choice([v.published_at, *INSTANTS]),
                "renews_consent": v.version != "1" and dice.chance(50),
                "purposes": tuple(p for p in notice.purposes if not dice.chance(20)) if dice.chance(30) else None,
            }
        )
        for v in notice.versions
    )
    return notice.model_copy(update={"versions": versions})
