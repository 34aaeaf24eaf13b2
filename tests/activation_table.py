"""Reads `activation_table.yaml`: one row per reason of activation or absence, regime and source of doubt.

Nothing here decides: what is expected is data, and three evaluators are held against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
import yaml
from pydantic import Field

from orchestration.demo.personas import Relative, Strict
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Policy
from tests.audiences import Audience, Visit, stage_visits
from tests.decision_table import (
    Alias,
    Case,
    Column,
    Consent,
    Doubt,
    Fact,
    Joined,
    at,
    deviating,
    world_of,
)
from tests.oracle import Touchpoint
from tests.oracle.activation import Delivery, Heard, Known, Permission
from tests.oracle.facts import Node
from tests.staged import insert, stage_worlds
from tests.worlds import AS_OF

PATH = Path(__file__).with_name("activation_table.yaml")
UP_TO = ("int_activations_decided", "int_segment_people")
# One answer a row: why its person is no member, else what becomes of them at the destination.
ANSWERS = """
select
    a.asked,
    case when coalesce(p.is_member, false) then coalesce(d.reason, 'permit') else coalesce(p.reason, 'not selected') end
        as answer
from (
    select
        split_part(token, '/', 1) || '/' || split_part(token, '/', 2) as asked,
        split_part(token, '/', 3) as segment,
        split_part(token, '/', 4) as destination,
        person_key
    from {schema}int_identifiers_resolved
    where split_part(token, '/', 5) = split_part(token, '/', 6)
) as a
left join {schema}int_segment_people as p on a.segment = p.segment and a.person_key = p.person_key
left join {schema}int_activations_decided as d
    on a.segment = d.segment and a.destination = d.destination and a.person_key = d.person_key"""
# What a visit is called in the table: source, raw event, category, what else the row says
VISITS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "consultation": ("web", "consultation_requested", "behaviour", {}),
    "page": ("web", "page_viewed", "behaviour", {}),
    "scan": ("wechat", "SCAN", "behaviour", {}),
    "purchase": ("in_store", "销售", "transaction", {"amount": 100.0, "store": "store-jingan"}),
    "birthday purchase": (
        "in_store", "销售", "transaction", {"amount": 100.0, "store": "store-xuhui", "birthday_month_of_year": 11},
    ),
}  # fmt: skip


class Visited(Strict):
    at: Relative = "-2d"
    what: Literal["consultation", "page", "scan", "purchase", "birthday purchase"] = "consultation"
    by: Alias | None = None


class Said(Strict):
    """What the platform said of a contact point."""

    at: Relative = "-50d"
    by: Alias
    state: Literal["open", "closed"]


class Sent(Strict):
    at: Relative
    times: int = 1
    by: Alias = "phone"
    destination: str = "sms_gateway"


class FeedSaid(Strict):
    last: Relative | None = "-0d"  # null: never heard
    incomplete: bool = False


class Build(Strict):
    """What the rows of one build share."""

    at: Relative = "-0d"
    policy: dict[str, Any] = Field(default_factory=dict)
    feeds: dict[str, FeedSaid] = Field(default_factory=dict)
    incomplete_days: tuple[int, ...] = ()  # days before today without the till's completion marker


class Member(Strict):
    """One line of the table: deviations from somebody who agreed, asked for advice and bought nothing since."""

    case: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    says: str
    doubt: Doubt = "none"
    segment: str = "consulted_not_bought_7"
    destination: str = "sms_gateway"
    people: tuple[Alias, ...] = ("account", "phone")
    joined: tuple[Joined, ...] | None = None  # left out: the first with each of the others
    consents: tuple[Consent, ...] = (Consent(),)
    then: tuple[Consent, ...] = ()
    facts: tuple[Fact, ...] = ()
    visits: tuple[Visited, ...] = (Visited(),)
    vault: tuple[Alias, ...] = ("phone",)
    platform: tuple[Said, ...] = ()
    sent: tuple[Sent, ...] = ()
    build: str = "usual"
    expect: str | dict[Column, str]

    def expected(self, column: Column) -> str | None:
        return self.expect if isinstance(self.expect, str) else self.expect.get(column)


class Table(Strict):
    columns: tuple[Column, ...]
    policy: dict[str, Any]
    destinations: dict[str, dict[str, Any]]  # each `like` one of the policy, but for what it says
    builds: dict[str, Build]
    cases: tuple[Member, ...]


@dataclass(frozen=True)
class Row:
    """One line in one regime."""

    member: Member
    column: Column
    known: Known
    visits: tuple[Visit, ...]

    @property
    def key(self) -> str:
        return f"{self.member.case}/{self.column}"

    @property
    def expected(self) -> str:
        found = self.member.expected(self.column)
        assert found is not None
        return found


@cache
def table() -> Table:
    return Table.model_validate(yaml.safe_load(PATH.read_text(encoding="utf-8")))


@cache
def batches() -> dict[str, list[Row]]:
    """The rows of each build."""
    return {name: list(_rows(name, build)) for name, build in table().builds.items()}


def batch_of(case: str) -> list[Row]:
    return next(batch for batch in batches().values() if any(row.member.case == case for row in batch))


def _rows(name: str, build: Build) -> Iterator[Row]:
    policy = deviating(_shipped(), {**table().policy, **build.policy})
    for index, member in enumerate(table().cases):
        for number, column in enumerate(table().columns):
            if member.build == name and member.expected(column) is not None:
                yield _row(member, build, column, policy, 5_000_000 + 1000 * index + 100 * number)


@cache
def _shipped() -> Policy:
    """The shipped policy with the table's destinations, for the segment of the usual case."""
    tree = load_policy(SHIPPED).model_dump(mode="json", exclude_unset=True)
    listed = tree["destinations"]["destinations"]
    for name, says in table().destinations.items():
        like = next(d for d in listed if d["name"] == says["like"])
        listed.append({**like, **says, "name": name})
        del listed[-1]["like"]
    usual = Member.model_fields["segment"].default
    next(s for s in tree["segments"]["segments"] if s["name"] == usual)["destinations"] += table().destinations
    return Policy.model_validate(tree)


def _row(member: Member, build: Build, column: Column, policy: Policy, seq: int) -> Row:
    segment = next(s for s in policy.segments.segments if s.name == member.segment)
    first = member.people[0]
    key = f"{member.case}/{column}/{member.segment}/{member.destination}/{first}"
    joined = tuple(Joined(a=first, b=other) for other in member.people[1:]) if member.joined is None else member.joined
    case = Case(
        case=member.case, says=member.says, purpose=segment.purpose, controller=segment.controller,
        people=member.people, joined=joined, consents=member.consents, then=member.then, facts=member.facts, expect={},
    )  # fmt: skip
    world = world_of(case, column, policy, key, seq)
    world.touchpoints.clear()
    world.as_of = at(build.at)

    def node(alias: str) -> Node:
        return segment.controller, f"{key}/{alias}"

    known = Known(
        world,
        node(first),
        vault={node(alias) for alias in member.vault},
        permissions=[Permission(node(p.by), p.state, at(p.at)) for p in member.platform],
        deliveries=[Delivery(node(d.by), d.destination, at(d.at)) for d in member.sent for _ in range(d.times)],
        heard=_heard(build, policy),
        complete={"in_store": {_day(n) for n in range(400) if n not in build.incomplete_days}},
    )
    return Row(member, column, known, tuple(_visits(member, known, node(first)[0], key)))


def _visits(member: Member, known: Known, controller: str, key: str) -> Iterator[Visit]:
    for index, visited in enumerate(member.visits):
        source, raw, category, says = VISITS[visited.what]
        token = f"{key}/{visited.by or member.people[0]}"
        known.seen.append(
            (visited.what, Touchpoint(f"{token}v{index}", token, controller, category, at(visited.at), source))
        )
        yield Visit(source, (controller, token), at(visited.at), raw, says)


def _heard(build: Build, policy: Policy) -> dict[str, Heard]:
    said = {feed.name: build.feeds.get(feed.name, FeedSaid()) for feed in policy.sources.consent_feeds}
    return {name: Heard(at(one.last), one.incomplete) for name, one in said.items() if one.last is not None}


def _day(days_ago: int) -> date:
    return (AS_OF + timedelta(hours=8)).date() - timedelta(days=days_ago)


def stage(con: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> None:
    """Writes the rows of one batch as the tables of a build."""
    policy, known = rows[0].known.policy, [row.known for row in rows]
    stage_worlds(con, policy, [one.world for one in known])
    stage_visits(con, [Audience(row.known.world, list(row.visits)) for row in rows])
    shared = known[0]
    insert(con, "lake.completeness", [{"source": s, "day": day} for s, days in shared.complete.items() for day in days])
    insert(con, "ledger.feeds", [_feed(shared, f.name, f.max_staleness_hours) for f in policy.sources.consent_feeds])
    insert(con, "activity.contact_points", [_told(one, node) for one in known for node in sorted(one.vault)])
    insert(con, "ledger.permissions", [p for row in rows for p in _permissions(row)])
    sent = [(d.node[1], d.destination, _naive(d.at)) for one in known for d in one.deliveries]
    insert(con, "activity.deliveries", [{"token": t, "destination": d, "delivered_at": n} for t, d, n in sent])


def _permissions(row: Row) -> Iterator[dict[str, Any]]:
    channel = next(d.channel for d in row.known.policy.destinations.destinations if d.name == row.member.destination)
    for index, p in enumerate(row.known.permissions):
        clocks = {"effective_at": _naive(p.at), "recorded_at": _naive(p.at)}
        said = {"seq": 10 + index, "controller": p.node[0], "channel": channel, "state": p.state}
        yield _told(row.known, p.node) | said | clocks


def _feed(known: Known, name: str, hours: int | None) -> dict[str, Any]:
    heard = known.heard.get(name)
    return {
        "feed": name, "last_seen_at": None if heard is None else _naive(heard.at),
        "is_incomplete": heard is not None and heard.is_incomplete, "max_staleness_hours": hours,
    }  # fmt: skip


def _told(known: Known, node: Node) -> dict[str, Any]:
    kind, issuer = known.world.kinds[node]
    return {"token": node[1], "kind": kind, "issuer": issuer}


def _naive(when: datetime) -> datetime:
    return when.replace(tzinfo=None)
