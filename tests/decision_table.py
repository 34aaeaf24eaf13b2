"""Reads `decision_table.yaml`: one row per reason, regime and source of doubt, and the small world that it means.

Nothing here decides: what is expected is data, and three evaluators are held against it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from orchestration.demo.personas import ALIASES, Relative, Strict, offset_ms
from orchestration.policy.loader import SHIPPED, canonical, load_policy
from orchestration.policy.schema import Policy, Regime
from tests.oracle import Age, Contract, Event, Link, Status, Touchpoint, World
from tests.worlds import AS_OF

PATH = Path(__file__).with_name("decision_table.yaml")
JURISDICTION: dict[str, str | None] = {"PIPL": "CN", "GDPR": "DE", "CCPA": "US-CA", "unknown": None}
Alias = Annotated[str, Field(pattern=r"^[a-z_]+2?$")]  # `account2`: another one, of somebody else perhaps
Column = Regime | Literal["unknown"]
Doubt = Literal["none", "missing", "malformed", "conflicting", "late", "unknown", "other"]


class Consent(Strict):
    """A consent record. What is left out: the purpose asked for, the row's regime, notice `privacy` 1, an explicit
    grant of what is not sensitive, by the person's first identifier."""

    at: Relative = "-100d"
    by: Alias | None = None
    controller: str | None = None
    purpose: str | None = None  # `all`: every purpose
    decision: str = "grant"
    method: str | None = "explicit_click"
    separate: bool = False
    guardian: bool = False
    notice: str | None = "privacy"
    version: str | None = "1"
    jurisdiction: str | None = "of the regime"
    valid_until: Relative | None = None
    category: str | None = None
    recipient: str | None = None
    channel: str | None = None


class Fact(Strict):
    """A contract (`fact`), an age (`minor_until`) or a status (`status`) of one identifier."""

    at: Relative = "-300d"
    by: Alias | None = None
    controller: str | None = None
    fact: str | None = None
    until: Relative | None = None
    minor_until: Relative | None = None
    status: str | None = None
    state: Literal["on", "off"] = "on"


class Joined(Strict):
    a: Alias
    b: Alias
    at: Relative = "-400d"
    unlink: bool = False


class Touched(Strict):
    at: Relative = "-2d"
    by: Alias | None = None
    controller: str | None = None
    category: str | None = "behaviour"
    source: str = "web"
    nobody: bool = False


class Case(Strict):
    """What one line of the table says, for each regime: deviations from somebody who agreed and then visited."""

    case: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    says: str
    doubt: Doubt = "none"
    purpose: str = "sms_marketing"
    controller: str = "shop"
    people: tuple[Alias, ...] = ("account",)
    joined: tuple[Joined, ...] = ()
    evidence: bool = True  # a consent to joining, long ago, tells the jurisdiction
    consents: tuple[Consent, ...] = (Consent(),)
    then: tuple[Consent, ...] = ()
    facts: tuple[Fact, ...] = ()
    touchpoint: Touched = Touched()
    policy: dict[str, Any] = Field(default_factory=dict)
    expect: dict[Column, str]


class Table(Strict):
    columns: tuple[Column, ...]
    elsewhere: dict[str, str]  # a reason that no touchpoint has: where it is decided and tested
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Row:
    """One case in one regime."""

    case: Case
    column: Column
    world: World

    @property
    def key(self) -> str:
        """Names the row; its touchpoint carries it, so that the purpose asked for is known in SQL too."""
        return _key(self.case, self.column)

    @property
    def expected(self) -> str:
        return self.case.expect[self.column]


@cache
def table() -> Table:
    return Table.model_validate(yaml.safe_load(PATH.read_text(encoding="utf-8")))


@cache
def rows() -> tuple[Row, ...]:
    return tuple(_rows())


def by_policy() -> list[list[Row]]:
    """The rows whose worlds one build can hold: those of the shipped policy first, then those of each deviation."""
    batches: dict[str, list[Row]] = {}
    for row in rows():
        batches.setdefault(yaml.safe_dump(row.case.policy), []).append(row)
    return list(batches.values())


def _rows() -> Iterator[Row]:
    for case in table().cases:
        policy = deviating(load_policy(SHIPPED), case.policy)
        for column in case.expect:
            yield Row(case, column, world_of(case, column, policy, _key(case, column), _first_seq(case, column)))


def deviating(shipped: Policy, changes: dict[str, Any]) -> Policy:
    """The policy with what the paths name changed: `purposes.purposes.follow_up.explicit: false`."""
    return _deviating(shipped, yaml.safe_dump(changes)) if changes else shipped


def _deviating(shipped: Policy, changes: str) -> Policy:
    tree = json.loads(canonical(shipped))
    for path, value in yaml.safe_load(changes).items():
        *steps, last = path.split(".")
        place = tree
        for step in steps:
            place = _named(place, step) if isinstance(place, list) else place[step]
        place[last] = value
    return Policy.model_validate(tree)


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if name in (item.get("name"), item.get("id"), item.get("version")))


def _key(case: Case, column: Column) -> str:
    return f"{case.case}/{column}/{case.purpose}"


def at(relative: str) -> datetime:
    return AS_OF + timedelta(milliseconds=offset_ms(relative))


def _first_seq(case: Case, column: Column) -> int:
    place = [c.case for c in table().cases].index(case.case)
    return 1_000_000 + 1000 * (1 + place) + 100 * list(JURISDICTION).index(column)


def world_of(case: Case, column: Column, policy: Policy, key: str, seq: int) -> World:
    """The world that a line means in one regime; `key` begins its identifiers, `seq` numbers its records."""
    world = World(policy, AS_OF)
    _add_people(world, case, key)
    consents = [*case.consents, *case.then]
    if case.evidence:
        strong = [n for n in world.kinds if world.is_strong(n) and n[0] == case.controller]
        first = [_alias(token) for _, token in strong]
        consents = [*(Consent(at="-600d", by=by, purpose="identity") for by in first), *consents]
    for index, consent in enumerate(consents):
        world.events.append(_event(case, column, consent, key, seq + index))
    for index, fact in enumerate(case.facts):
        _add_fact(world, case, fact, key, seq + 50 + index)
    touched = case.touchpoint
    node = _node(case, key, touched.by, touched.controller)
    source = "app" if touched.category == "preference" and touched.source == "web" else touched.source
    token = None if touched.nobody else node[1]
    world.touchpoints.append(Touchpoint(key, token, node[0], touched.category, at(touched.at), source))
    return world


def _add_people(world: World, case: Case, key: str) -> None:
    used = {(case.controller, alias) for alias in case.people}
    records: list[Consent | Fact | Touched] = [*case.consents, *case.then, *case.facts, case.touchpoint]
    used |= {(r.controller or case.controller, r.by or case.people[0]) for r in records}
    for controller, alias in sorted(used):
        world.kinds[controller, f"{key}/{alias}"] = ALIASES[alias.rstrip("2")][:2]
    for j in case.joined:
        world.links.append(Link(case.controller, f"{key}/{j.a}", f"{key}/{j.b}", at(j.at), j.unlink))


def _alias(token: str) -> Any:
    return token.rpartition("/")[2]


def _node(case: Case, key: str, by: Alias | None, controller: str | None) -> tuple[str, str]:
    return controller or case.controller, f"{key}/{by or case.people[0]}"


def _event(case: Case, column: Column, consent: Consent, key: str, seq: int) -> Event:
    controller, token = _node(case, key, consent.by, consent.controller)
    told = consent.jurisdiction
    return Event(
        seq=seq,
        token=token,
        controller=controller,
        purpose=None if consent.purpose == "all" else consent.purpose or case.purpose,
        decision=consent.decision,
        effective_at=at(consent.at),
        category=consent.category,
        recipient=consent.recipient,
        channel=consent.channel,
        method=consent.method,
        is_separate=consent.separate,
        is_guardian=consent.guardian,
        notice_id=consent.notice,
        notice_version=consent.version,
        jurisdiction=JURISDICTION[column] if told == "of the regime" else told,
        valid_until=at(consent.valid_until) if consent.valid_until else None,
        recorded_at=at(consent.at),
    )


def _add_fact(world: World, case: Case, fact: Fact, key: str, seq: int) -> None:
    controller, token = _node(case, key, fact.by, fact.controller)
    when = at(fact.at)
    if fact.fact is not None:
        until = at(fact.until) if fact.until else None
        world.contracts.append(Contract(seq, token, controller, fact.fact, when, until))
    if fact.minor_until is not None:
        world.ages.append(Age(token, controller, at(fact.minor_until), when))
    if fact.status is not None:
        world.statuses.append(Status(token, controller, fact.status, fact.state, when))
