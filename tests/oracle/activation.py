"""What becomes of a segment's member at a destination, from design §4 (transfers, rule 8) and the policy's own words.

Not here: who is a member (`membership.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from orchestration.policy.schema import Destination, QuietHours, Segment
from tests.oracle.consent import Asked, on_record, state
from tests.oracle.facts import Event, Node, World
from tests.oracle.membership import Delivery, Heard, Known, Permission, not_member
from tests.oracle.people import resolve

__all__ = ["Delivery", "Heard", "Known", "Permission", "activate"]


def activate(everybody: Sequence[Known], segment_name: str, destination_name: str) -> list[str]:
    """For each: permit, the one reason, or that the segment does not select them."""
    segment = everybody[0].segment(segment_name)
    destination = next(d for d in everybody[0].policy.destinations.destinations if d.name == destination_name)
    answers = [not_member(one, segment) or _denied(one, segment, destination) or "permit" for one in everybody]
    if answers.count("permit") < segment.minimum_size:
        answers = ["below_minimum_size" if answer == "permit" else answer for answer in answers]
    return answers


def _denied(known: Known, segment: Segment, destination: Destination) -> str | None:
    """In the order of design §4."""
    if not _may_go_abroad(known, segment, destination):
        return "transfer_not_allowed"
    refused = _unopened(known, segment, destination)
    if refused is not None:
        return refused
    points = {n for n in known.people & known.vault if known.world.kinds[n] == (destination.kind, destination.issuer)}
    if not points - resolve(known.world).shared:
        return "no_contact_point"
    if not any(_is_open(known, point, destination) for point in points):
        return "permission_missing"
    if any(_is_refused(known, one, destination.channel) for one in _used(known, segment)):
        return "preference_off"
    if _is_capped(known, destination):
        return "frequency_capped"
    if destination.sends_on_receipt and destination.quiet_hours and _is_quiet(known.world, destination.quiet_hours):
        return "quiet_hours"
    people = resolve(known.world)
    if any(known.world.is_on(node, "suppressed") for node in people.reaching(people.group[known.first])):
        return "suppressed"
    return "feed_stale" if _is_stale(known, segment.controller) else None


def _may_go_abroad(known: Known, segment: Segment, destination: Destination) -> bool:
    """Abroad asks for a mechanism on file and for the consent to the purpose that it names."""
    home = next(c.country for c in known.policy.organisation.controllers if c.name == segment.controller)
    if destination.country == home:
        return True
    purpose = None if destination.transfer is None else known.world.purpose(destination.transfer.purpose)
    if purpose is None:
        return False
    asked = [Asked(segment.controller, purpose, category) for category in purpose.categories]
    return any(state(known.world, _strong(known), known.first, one, known.world.as_of) is None for one in asked)


def _strong(known: Known) -> set[Node]:
    """A weak identifier's grant never authorises contacting anyone."""
    return {node for node in known.people if known.world.is_strong(node)}


def _unopened(known: Known, segment: Segment, destination: Destination) -> str | None:
    """A consent to contact, and of policy and of that consent the channel, for every scope that the segment used.

    Design §4 names no reason for the first, nor for want of an impact assessment (R-93); these are the nearest."""
    world, purpose = known.world, known.world.purpose(segment.purpose)
    assert purpose is not None
    asked = _used(known, segment)
    if any(state(world, _strong(known), known.first, one, world.as_of) is not None for one in asked):
        return "no_consent"
    today, until = world.as_of.astimezone(_zone(world)).date(), purpose.impact_assessment_until
    if purpose.requires_impact_assessment and (until is None or until < today):
        return "channel_not_allowed"
    is_allowed = destination.channel in purpose.channels and destination.channel in segment.channels
    is_opened = all(_is_opened(known, one, destination.channel) for one in asked)
    return None if is_allowed and is_opened else "channel_not_allowed"


def _used(known: Known, segment: Segment) -> list[Asked]:
    """The scopes of what the segment saw of the person."""
    purpose = known.world.purpose(segment.purpose)
    assert purpose is not None
    used = sorted({t.category for _, t in known.readable(segment) if t.category is not None})
    return [Asked(segment.controller, purpose, category) for category in used]


def _is_opened(known: Known, asked: Asked, channel: str) -> bool:
    """A grant in force, after any refusal of the whole, that names the channel or none."""
    people, world = resolve(known.world), known.world
    grants, denials = on_record(world, asked)
    refused = [d.at for d in denials if people.group[known.first] in people.reach[d.node]]
    told = [
        e for e in world.events
        if e.decision == "grant" and e.purpose == asked.purpose.name and e.category in (None, asked.category)
    ]  # fmt: skip
    named = {(e.node, e.effective_at) for e in told}
    opening = {(e.node, e.effective_at) for e in told if e.channel in (None, channel)}
    return any(
        g.problem is None and g.node in _strong(known) and world.as_of < g.ends and all(g.at > at for at in refused)
        for g in grants if (g.node, g.at) in opening or (g.node, g.at) not in named  # contracts and silence name none
    )  # fmt: skip


def _is_refused(known: Known, asked: Asked, channel: str) -> bool:
    """A refusal of this channel alone, and no later yes to it; at equal times the denial wins, and dated ahead it acts
    at once."""
    people, as_of = resolve(known.world), known.world.as_of
    reaching = people.reaching(people.group[known.first])
    told = [e for e in known.world.events if e.node in reaching and _speaks_of(e, asked, channel)]
    refused = [min(e.effective_at, as_of) for e in told if e.decision != "grant" and e.channel is not None]
    agreed = [e.effective_at for e in told if e.decision == "grant" and known.world.is_strong(e.node)]
    return bool(refused) and not any(max(refused) < at <= as_of for at in agreed)


def _speaks_of(event: Event, asked: Asked, channel: str) -> bool:
    is_purpose = event.purpose == asked.purpose.name or (event.purpose is None and event.decision != "grant")
    is_scope = event.controller == asked.controller and is_purpose and event.category in (None, asked.category)
    return is_scope and event.channel in (None, channel)


def _is_open(known: Known, point: Node, destination: Destination) -> bool:
    """The platform's last word: closed closes, for whoever holds it; to be opened for a former holder is not enough;
    no word is enough where no permission is needed."""
    as_of, since = known.world.as_of, resolve(known.world).held_since.get(point)
    told = [
        (min(p.at, as_of), p.state != "open")
        for p in known.permissions
        if p.node == point and (p.at <= as_of or p.state != "open")
    ]
    last, is_closed = max(told, default=(None, False))
    is_opened = last is not None and not is_closed and (since is None or last >= since)
    return not is_closed and (is_opened or not destination.needs_permission)


def _is_capped(known: Known, destination: Destination) -> bool:
    cap, as_of = destination.frequency, known.world.as_of
    if cap is None:
        return False
    sent = [d.at for d in known.deliveries if d.node in known.people and d.destination == destination.name]
    return sum(as_of - timedelta(days=cap.days) < at <= as_of for at in sent) >= cap.maximum


def _is_quiet(world: World, quiet: QuietHours) -> bool:
    """By the clock of the organisation's zone; the end is no longer quiet, and a night passes midnight."""
    now = world.as_of.astimezone(_zone(world)).strftime("%H:%M")
    return quiet.start <= now < quiet.end if quiet.start < quiet.end else now >= quiet.start or now < quiet.end


def _zone(world: World) -> ZoneInfo:
    return ZoneInfo(world.policy.organisation.zone)


def _is_stale(known: Known, controller: str) -> bool:
    """A feed that speaks for the controller is incomplete, silent for too long, or was never heard."""
    return any(_is_unheard(known, f.name, f.max_staleness_hours) for f in known.policy.sources.consent_feeds
               if controller in f.controllers)  # fmt: skip


def _is_unheard(known: Known, feed: str, hours: int | None) -> bool:
    heard = known.heard.get(feed)
    oldest: datetime | None = None if hours is None else known.world.as_of - timedelta(hours=hours)
    return (heard is not None and heard.is_incomplete) or (oldest is not None and (heard is None or heard.at < oldest))
