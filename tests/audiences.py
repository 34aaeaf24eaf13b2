"""People who do what segments look for, by chance: most agreed to everything long ago, so that most are in something.

Not here: worlds that are about the decision itself (`tests/worlds.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import duckdb

from orchestration.policy.schema import Policy
from tests.oracle import Contract, Event, Link, World
from tests.oracle.facts import Node
from tests.staged import Row, insert, stage_worlds
from tests.worlds import AS_OF, KINDS, Dice

ANONYMOUS = ["cookie", "device"]
RESTRICTING = ["withdraw", "deny", "object", "opt_out", "presumed_denial", "unheard_of"]
CHANNELS = [None, None, None, "sms", "email", "push", "call", "wechat_oa", "ads"]
JURISDICTIONS = [None, None, "CN", "DE", "US-CA", "XX"]
LONG_AGO = 200  # beyond the shortest age of a consent
DAYS_AGO = (1, 3, 5, 6, 8, 16, 20, 22, 25, 35, 45, 100)
LATE_STAGES = {"full_profile", "advocacy"}  # left out more often, lest everybody be at the last stage
# What happens at each source: raw event, and what else the row says.
HAPPENINGS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "web": [("consultation_requested", {}), ("order_completed", {"amount": 4000.0}), ("page_viewed", {})],
    "app": [("consult", {}), ("purchase", {"amount": 1500.0}), ("app_open", {}), ("view_item", {})],
    "wechat": [("SCAN", {}), ("CLICK", {}), ("launch", {}), ("consult", {}), ("pay", {})],
    "in_store": [
        ("销售", {"amount": 1600.0, "store": "store-xuhui", "birthday_month_of_year": 11}),
        ("咨询", {"store": "store-xuhui"}),
        ("退货", {"amount": -1600.0, "store": "store-xuhui"}),
    ],
}
AT_THE_CLINIC = ("到诊", {"store": "clinic-jingan", "item": "med-laser"})


@dataclass(frozen=True)
class Visit:
    """A touchpoint as its source's rows say it."""

    source: str
    node: Node
    at: datetime
    raw: str
    says: dict[str, Any]


@dataclass
class Audience:
    """A world and the visits of its people."""

    world: World
    visits: list[Visit] = field(default_factory=list)

    def having(
        self,
        *,
        events: list[Event],
        links: list[Link] | None = None,
        kinds: dict[Node, tuple[str, str]] | None = None,
    ) -> Audience:
        """The same with more on record."""
        world = self.world
        more = replace(
            world,
            events=[*world.events, *events],
            links=[*world.links, *(links or [])],
            kinds={**world.kinds, **(kinds or {})},
            known={},
        )
        return Audience(more, self.visits)


def random_audience(dice: Dice, policy: Policy, number: int) -> Audience:
    world = World(policy, AS_OF)
    controller = dice.choice(["shop", "shop", "shop", "clinic"])
    jurisdiction = dice.choice(["CN", "CN", "US-CA", "DE", None])
    for person in range(dice.choice([1, 1, 2])):
        _add_person(dice, world, controller, f"a{number}p{person}")
    nodes = sorted(world.kinds)
    if dice.chance(25):
        a, b = dice.choice(nodes)[1], dice.choice(nodes)[1]
        world.links.append(Link(controller, a, b, AS_OF - timedelta(days=dice.choice([1, 300])), dice.chance(30)))
    for index, node in enumerate(nodes):
        if world.is_strong(node) or dice.chance(70):
            world.events += _agreements(dice, policy, node, jurisdiction, number * 1000 + index * 40)
    if dice.chance(30):
        node = dice.choice(nodes)
        world.contracts.append(
            Contract(number * 1000 + 900, node[1], node[0], "membership", AS_OF - timedelta(days=200), None)
        )
    for _ in range(dice.choice([0, 0, 0, 1])):
        world.events.append(random_denial(dice, world, number * 1000 + 901))
    visits = [_random_visit(dice, dice.choice(nodes)) for _ in range(dice.between(2, 6))]
    return Audience(world, visits)


def _add_person(dice: Dice, world: World, controller: str, name: str) -> None:
    mine: list[str] = []
    is_anonymous = dice.chance(20)
    for index in range(dice.choice([1, 2, 3])):
        token = f"{name}i{index}"
        kind = dice.choice(ANONYMOUS if is_anonymous else list(KINDS))
        world.kinds[controller, token] = kind, KINDS[kind]
        if mine:
            world.links.append(Link(controller, dice.choice(mine), token, AS_OF - timedelta(days=300)))
        mine.append(token)


def _agreements(dice: Dice, policy: Policy, node: Node, jurisdiction: str | None, seq: int) -> list[Event]:
    """An explicit and separate yes to each purpose, under a notice that names it; some purposes left out."""
    found = []
    for index, purpose in enumerate(policy.purposes.purposes):
        notice = next((n for n in reversed(policy.notices.notices) if purpose.name in n.purposes), None)
        if notice is None or dice.chance(45 if purpose.name in LATE_STAGES else 10):
            continue
        days = (
            dice.choice([LONG_AGO, LONG_AGO, LONG_AGO, 40, 7])
            if len(notice.versions) == 1 or notice.id == "privacy"
            else 50
        )
        found.append(
            Event(
                seq + index, node[1], node[0], purpose.name, "grant", AS_OF - timedelta(days=days),
                category="sensitive" if purpose.name == "follow_up" and dice.chance(85) else None,
                recipient=purpose.recipient, is_separate=True, notice_id=notice.id,
                notice_version=notice.versions[-1 if days <= 50 else 0].version, jurisdiction=jurisdiction,
                recorded_at=AS_OF - timedelta(days=days),
            )
        )  # fmt: skip
    return found


def _random_visit(dice: Dice, node: Node) -> Visit:
    source = dice.choice(list(HAPPENINGS))
    raw, says = dice.choice(HAPPENINGS[source])
    if node[0] == "clinic" and dice.chance(70):
        source, (raw, says) = "in_store", AT_THE_CLINIC
    at = AS_OF - timedelta(days=dice.choice(DAYS_AGO), hours=dice.choice([0, 1, 2]))
    return Visit(source, node, at, raw, says)


def random_denial(dice: Dice, world: World, seq: int) -> Event:
    """Any restricting record of any identifier: whatever its time, scope, channel or jurisdiction."""
    controller, token = dice.choice(sorted(world.kinds))
    purpose = dice.choice([None, *(p.name for p in world.policy.purposes.purposes)])
    return Event(
        seq, token, controller, purpose, dice.choice(RESTRICTING),
        AS_OF - timedelta(days=dice.choice([2, 0, 1, 5, 10, 30, 60, 240, 400, -1])),
        category=dice.choice([None, None, "transaction", "behaviour", "identification", "sensitive", "preference"]),
        recipient=dice.choice([None, None, "own", "partner_ads"]), channel=dice.choice(CHANNELS),
        jurisdiction=dice.choice(JURISDICTIONS), recorded_at=AS_OF,
    )  # fmt: skip


def random_stranger(dice: Dice, world: World, number: int) -> tuple[dict[Node, tuple[str, str]], Link, list[Event]]:
    """An identifier that carries only denials, and a link to somebody."""
    controller, other = dice.choice(sorted(world.kinds))
    node, kind = (controller, f"a{number}stranger"), dice.choice(list(KINDS))
    link = Link(controller, node[1], other, AS_OF - timedelta(days=dice.choice([1, 20, 200, 500])))
    alone = World(world.policy, AS_OF, {node: (kind, KINDS[kind])})
    denials = [random_denial(dice, alone, number * 1000 + 950 + index) for index in range(dice.choice([1, 2]))]
    return alone.kinds, link, denials


def random_weak_grant(dice: Dice, world: World, number: int) -> tuple[dict[Node, tuple[str, str]], Link, Event]:
    """A browser that nobody knew, a link of it to somebody, and its yes: to anything, from anywhere."""
    controller, other = dice.choice(sorted(world.kinds))
    node, kind = (controller, f"a{number}stranger"), dice.choice(ANONYMOUS)
    link = Link(controller, node[1], other, AS_OF - timedelta(days=dice.choice([1, 20, 200, 500])))
    purpose = dice.choice(world.policy.purposes.purposes)
    notice = next((n for n in world.policy.notices.notices if purpose.name in n.purposes), None)
    grant = Event(
        number * 1000 + 950, node[1], controller, purpose.name, "grant",
        AS_OF - timedelta(days=dice.choice([1, 30, 100, 250])), category=dice.choice([None, *purpose.categories]),
        recipient=purpose.recipient, is_separate=True, notice_id=notice.id if notice else None,
        jurisdiction=dice.choice(JURISDICTIONS), recorded_at=AS_OF,
    )  # fmt: skip
    return {node: (kind, KINDS[kind])}, link, grant


def stage_audiences(con: duckdb.DuckDBPyConnection, policy: Policy, audiences: list[Audience]) -> None:
    """Worlds, visits and, lest no absence could be proved, a till that delivered every day."""
    stage_worlds(con, policy, [audience.world for audience in audiences])
    stage_visits(con, audiences)
    days = [{"source": "in_store", "day": (AS_OF - timedelta(days=n)).date()} for n in range(800)]
    insert(con, "lake.completeness", days)


def stage_visits(con: duckdb.DuckDBPyConnection, audiences: list[Audience]) -> None:
    rows: dict[str, list[Row]] = {}
    for audience in audiences:
        for index, visit in enumerate(audience.visits):
            rows.setdefault(visit.source, []).append(_row(audience, index, visit))
    for source, visits in rows.items():
        insert(con, f"lake.{source}", visits)


def _row(audience: Audience, index: int, visit: Visit) -> Row:
    kind, issuer = audience.world.kinds[visit.node]
    return {
        "touchpoint_key": f"{visit.node[1]}v{index}", "source": visit.source, "controller": visit.node[0],
        "subject_token": visit.node[1], "subject_kind": kind, "subject_issuer": issuer,
        "occurred_at": visit.at.replace(tzinfo=None), "business_day": _day(visit.at), "raw_event": visit.raw,
        **{name: visit.says.get(name) for name in SAID[visit.source]},
    }  # fmt: skip


def _day(at: datetime) -> date:
    return (at + timedelta(hours=8)).date()


SAID = {source: sorted({name for _, says in found for name in says}) for source, found in HAPPENINGS.items()}
SAID["in_store"].append("item")


def members(con: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    """Segment and identifier of everybody in a segment. By identifiers, not by keys: a person's key may change."""
    return set(
        con.execute("""
            select p.segment, i.token from intermediate.int_segment_people as p
            inner join intermediate.int_identifiers_resolved as i on p.person_key = i.person_key
            where p.is_member""").fetchall()
    )


def people(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Identifier → the person it belongs to, where it belongs to one."""
    found = "select token, person_key from intermediate.int_identifiers_resolved where person_key is not null"
    return dict(con.execute(found).fetchall())


def gated(con: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    return set(
        con.execute("select touchpoint_key, purpose from intermediate.int_touchpoints_gated_by_purpose").fetchall()
    )
