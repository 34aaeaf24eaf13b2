"""Who is in a segment, and of whom an absence can be proved, from design §4. Slow and plain, one person at a time.

Not here: how every segment selects. It knows the few that the activation table uses, from what policy says of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from orchestration.policy.schema import Policy, Segment
from tests.oracle.consent import Asked, on_record, state
from tests.oracle.decision import decide, person, retention_days
from tests.oracle.facts import Node, Touchpoint, World
from tests.oracle.people import resolve

NOT_SELECTED = "not selected"
RESTS_ON = {"birthday_month": ("full",)}  # the stages whose fields a segment reads
REFUSALS = {"denied", "withdrawn", "objected", "opted_out"}
OF_POLICY = {"unknown_source", "unknown_purpose", "category_not_allowed"}  # kept from everybody, so hidden of nobody


@dataclass(frozen=True)
class Permission:
    """What a platform said of a contact point: `open` or `closed`."""

    node: Node
    state: str
    at: datetime


@dataclass(frozen=True)
class Delivery:
    node: Node
    destination: str
    at: datetime


@dataclass(frozen=True)
class Heard:
    """Of one consent feed: when it last delivered, and whether something of it could not be read."""

    at: datetime
    is_incomplete: bool = False


@dataclass
class Known:
    """What a build knows of one person beside the consents, and of the feeds and sources that all share."""

    world: World
    first: Node
    vault: set[Node] = field(default_factory=set)  # contact points whose plain value we hold
    permissions: list[Permission] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    seen: list[tuple[str, Touchpoint]] = field(default_factory=list)  # what it was, in the table's words
    heard: dict[str, Heard] = field(default_factory=dict)
    complete: dict[str, set[date]] = field(default_factory=dict)  # source → business days with a completion marker

    @property
    def policy(self) -> Policy:
        return self.world.policy

    @property
    def people(self) -> set[Node]:
        return person(self.world, self.first)

    def segment(self, name: str) -> Segment:
        return next(segment for segment in self.policy.segments.segments if segment.name == name)

    def in_lookback(self, segment: Segment) -> list[tuple[str, Touchpoint]]:
        since = self.world.as_of - timedelta(days=segment.lookback_days)
        mine = [(what, t) for what, t in self.seen if (t.controller, t.token) in self.people]
        return [(what, t) for what, t in mine if t.occurred_at >= since and t.controller == segment.controller]

    def readable(self, segment: Segment) -> list[tuple[str, Touchpoint]]:
        return [
            (what, t) for what, t in self.in_lookback(segment) if decide(self.world, t, segment.purpose) is None
        ]  # fmt: skip


def not_member(known: Known, segment: Segment) -> str | None:
    """Why the person is not in the segment: nothing of theirs may be read, it does not select them, or what is absent
    cannot be proved to be."""
    reasons = [decide(known.world, t, segment.purpose) for _, t in known.in_lookback(segment)]
    denied = [reason for reason in reasons if reason is not None]
    if denied and len(denied) == len(reasons):
        return denied[0]
    if not _selects(known, segment):
        return NOT_SELECTED
    if segment.absent is not None and not is_absence_proved(known, segment):
        return "absence_unproved"
    for excluded in map(known.segment, segment.excludes):
        if not _is_exclusion_sure(known, excluded):
            return "absence_unproved"
        if _selects(known, excluded):
            return NOT_SELECTED
    return None


def _selects(known: Known, segment: Segment) -> bool:
    seen = known.readable(segment)
    if segment.stages and _stage(known, segment.controller) not in segment.stages:
        return False
    if segment.model_name == "consulted_not_bought":
        bought = [t.occurred_at for what, t in seen if what.endswith("purchase")]
        asked = [t.occurred_at for what, t in seen if what == "consultation"]
        return bool(asked) and (not bought or max(bought) < max(asked))
    if segment.model_name == "birthday_month":
        return any(what == "birthday purchase" for what, _ in seen)
    if segment.model_name == "wechat_engaged":
        seen = [(what, t) for what, t in seen if what == "scan"]
    assert segment.model_name.endswith("engaged"), segment.model_name
    return len(seen) >= int(str(segment.parameters["minimum_touches"]))


def _stage(known: Known, controller: str) -> str:
    """The last stage whose consent holds now; the first needs none."""
    world, last = known.world, ""
    for stage in known.policy.purposes.stages:
        purpose = None if stage.purpose is None else world.purpose(stage.purpose)
        asked = [] if purpose is None else [Asked(controller, purpose, category) for category in purpose.categories]
        if purpose is None or any(state(world, known.people, known.first, a, world.as_of) is None for a in asked):
            last = stage.name
    return last


def _is_exclusion_sure(known: Known, excluded: Segment) -> bool:
    """Could nothing hidden put the person into the excluded segment?"""
    reasons = [decide(known.world, t, excluded.purpose) for _, t in known.in_lookback(excluded)]
    is_hidden = any(reason is not None and reason not in OF_POLICY for reason in reasons)
    is_unproved = excluded.absent is not None and not is_absence_proved(known, excluded)
    return is_whole(known) and not is_hidden and not is_unproved and not _was_refused(known, excluded)


def _was_refused(known: Known, excluded: Segment) -> bool:
    """Did the person refuse, at any time of the lookback, what the segment rests on? What it hid may be gone."""
    begins = known.world.as_of - timedelta(days=excluded.lookback_days)
    stages = {stage.purpose for stage in known.policy.purposes.stages if stage.name in RESTS_ON.get(excluded.name, ())}
    for purpose in filter(None, map(known.world.purpose, sorted({excluded.purpose, *filter(None, stages)}))):
        for asked in (Asked(excluded.controller, purpose, category) for category in purpose.categories):
            times = {begins, *(at for at in _changes(known.world, asked) if begins <= at <= known.world.as_of)}
            told = {state(known.world, known.people, node, asked, at) for at in times for node in known.people}
            if told & REFUSALS:
                return True
    return False


def is_absence_proved(known: Known, segment: Segment) -> bool:
    """Permission for the absent data throughout, all of the person in sight, and every day of the source complete."""
    world, absent, purpose = known.world, segment.absent, known.world.purpose(segment.purpose)
    assert absent is not None and purpose is not None
    if not is_whole(known) or absent.lookback_days > retention_days(world.policy, purpose.name, absent.category):
        return False
    asked = Asked(segment.controller, purpose, absent.category)
    begins = world.as_of - timedelta(days=absent.lookback_days)
    for at in {begins, world.as_of, *(at for at in _changes(world, asked) if begins <= at <= world.as_of)}:
        if any(state(world, known.people, node, asked, at) is not None for node in known.people):
            return False
    zone = ZoneInfo(world.policy.organisation.zone)
    days = {(begins + timedelta(days=n)).astimezone(zone).date() for n in range(absent.lookback_days)}
    return days <= known.complete.get(absent.source, set())


def _changes(world: World, asked: Asked) -> set[datetime]:
    grants, denials = on_record(world, asked)
    return {g.at for g in grants} | {g.ends for g in grants} | {d.at for d in denials}


def is_whole(known: Known) -> bool:
    """No identifier ever linked to the person is shared, unlinked, or left apart for want of consent."""
    ever, edge = {known.first}, {known.first}
    while edge:
        edge = {node for link in known.world.links if link.ends & edge for node in link.ends} - ever
        ever |= edge
    return ever <= known.people and not ever & resolve(known.world).shared
