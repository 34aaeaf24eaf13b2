"""Random small worlds for the differential test, and how a world reaches the tables that dbt reads."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from orchestration.policy.schema import Policy
from orchestration.policy.tables import write_policy_tables
from orchestration.warehouse.relations import relations
from tests.oracle import Contract, Event, Touchpoint, World

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
EVENT_OF = {
    "behaviour": "page_viewed",
    "transaction": "order_completed",
    "identification": "logged_in",
    None: "not_in_policy",
}


def random_world(rng: random.Random, policy: Policy, number: int) -> tuple[World, list[Touchpoint]]:
    """One or two groups of identifiers under each controller, events and touchpoints on a lattice that forces ties."""
    days = [0, 1, 2, 3, 10, 29, 61, 70, 100, 200, 400, 800]
    instants = [AS_OF - timedelta(days=d) for d in days] + [
        AS_OF - timedelta(days=d, seconds=s) for d in (2, 70) for s in (-1, 1)
    ]
    world = World(policy, AS_OF, {}, {})
    for group in range(rng.choice([1, 1, 2])):
        for member in range(rng.choice([1, 2, 3])):
            node = (rng.choice(["shop", "shop", "clinic"]), f"w{number}g{group}i{member}")
            world.strong[node] = rng.random() < 0.6
            world.group[node] = number * 10 + group * 2 + (node[0] == "clinic")
    for node in list(world.strong):
        if rng.random() < 0.15:  # the same identifier is known to the other controller too
            other = ("clinic" if node[0] == "shop" else "shop", node[1])
            world.strong.setdefault(other, world.strong[node])
            world.group.setdefault(other, (world.group[node] // 2) * 2 + (other[0] == "clinic"))
    for node in world.strong:
        world.reach[node] = {world.group[node]}
    if len(set(world.group.values())) > 1 and rng.random() < 0.3:
        _share(rng, world)
    nodes = list(world.group)
    for _ in range(rng.randint(0, 6)):
        world.events.append(_random_event(rng, policy, rng.choice(nodes), instants, number * 100 + len(world.events)))
    grants = [e for e in world.events if e.decision == "grant"]
    if grants and rng.random() < 0.4:  # a denial of the same instant, from the same person or another
        tied = rng.choice(grants)
        node = (tied.controller, tied.token) if rng.random() < 0.7 else rng.choice(nodes)
        seq = number * 100 + 70
        world.events.append(Event(seq, node[1], node[0], tied.purpose, "withdraw", tied.effective_at))
    if rng.random() < 0.5:  # most worlds of several identifiers are about joining
        for node in nodes:
            if world.strong[node]:
                seq = number * 100 + len(world.events)
                world.events.append(
                    Event(seq, node[1], node[0], "identity", "grant", AS_OF - timedelta(days=rng.choice([1, 70, 400])))
                )
    if rng.random() < 0.3:
        node = rng.choice(nodes)
        until = rng.choice([None, AS_OF - timedelta(days=3), AS_OF + timedelta(days=30)])
        world.contracts.append(Contract(number * 100 + 50, node[1], node[0], "membership", rng.choice(instants), until))
    if rng.random() < 0.15:
        world.minor_until[rng.choice(nodes)] = rng.choice([AS_OF + timedelta(days=900), AS_OF - timedelta(days=2)])
    if rng.random() < 0.1:
        world.statuses[rng.choice(nodes)] = rng.choice(["erased", "restricted", "legal_hold"])
    return world, _random_touchpoints(rng, world, instants, number)


def _share(rng: random.Random, world: World) -> None:
    """One identifier turns out to be shared by two groups of its controller."""
    node = rng.choice(list(world.group))
    others = {g for n, g in world.group.items() if g != world.group[node] and n[0] == node[0]}
    if others:
        world.reach[node] = {world.group[node], 5_000_000 + world.group[node], *others}
        world.group[node] = 5_000_000 + world.group[node]
        world.ambiguous.add(node)


def _random_event(
    rng: random.Random, policy: Policy, node: tuple[str, str], instants: list[datetime], seq: int
) -> Event:
    purpose = rng.choice(policy.purposes.purposes)
    decision = rng.choices(
        ["grant", "deny", "withdraw", "object", "opt_out", "presumed_denial", "unheard_of"], [12, 2, 4, 1, 1, 1, 1]
    )[0]
    fitting = [n.id for n in policy.notices.notices if purpose.name in n.purposes]
    notice = rng.choice(fitting) if rng.random() < 0.85 else rng.choice(["privacy", "partner", None])
    return Event(
        seq=seq,
        token=node[1],
        controller=node[0],
        purpose=None if decision != "grant" and rng.random() < 0.2 else purpose.name,
        decision=decision,
        effective_at=rng.choice([*instants, AS_OF + timedelta(days=1)]),
        category=rng.choice([None, None, *purpose.categories]),
        recipient=rng.choice([None, purpose.recipient, purpose.recipient, "own"]),
        channel=rng.choice([None, None, None, None, "sms"]),
        method=rng.choice(["explicit_click", "explicit_click", "explicit_click", "signed_form", "pre_ticked", None]),
        is_separate=rng.random() < 0.6,
        is_guardian=rng.random() < 0.2,
        notice_id=notice,
        notice_version=rng.choice(["1", "1", "2", "9"]) if notice else None,
        jurisdiction=rng.choice([None, "CN", "CN", "DE", "US-CA", "XX"]),
        valid_until=rng.choice([None, None, None, AS_OF - timedelta(days=2), AS_OF + timedelta(days=5)]),
    )


def _random_touchpoints(rng: random.Random, world: World, instants: list[datetime], number: int) -> list[Touchpoint]:
    """Mostly of the identifiers and categories that the world's events speak of; some of nobody, some unknown."""
    asked = [e.purpose for e in world.events if e.purpose is not None] or ["identity"]
    found = []
    for index in range(6):
        node = rng.choice(list(world.group)) if rng.random() < 0.95 else None
        purpose = world.purpose(rng.choice(asked))
        category = rng.choice(purpose.categories) if purpose else None
        if category == "preference" or rng.random() < 0.15:
            category = rng.choice(["behaviour", "transaction", "identification", "sensitive", None])
        found.append(
            Touchpoint(
                key=f"w{number}t{index}",
                token=node[1] if node else None,
                controller=node[0] if node else "shop",
                category=category,
                occurred_at=rng.choice(instants),
                source="web" if rng.random() < 0.96 else "elsewhere",
            )
        )
    return found


def stage_worlds(path: str, policy: Policy, worlds: list[tuple[World, list[Touchpoint]]]) -> None:
    """Writes the worlds as the tables of a build file, every other table typed and empty."""
    with duckdb.connect(path) as con:
        write_policy_tables(con, policy, policy_hash="test", sensitive_segments=frozenset({"follow_up"}))
        for schema, tables in relations(policy).items():
            con.execute(f"create schema if not exists {schema}")
            for table, columns in tables.items():
                if schema != "policy":
                    con.execute(f"create table {schema}.{table} ({', '.join(f'{n} {t}' for n, t in columns.items())})")
        con.execute("set timezone = 'UTC'")
        con.execute(
            "insert into meta.builds by name select 'test' as generation, ?::timestamp as as_of", [_naive(AS_OF)]
        )
        con.execute("insert into identity.purpose_keys select purpose, sha256(purpose) from policy.purposes")
        _insert(
            con,
            "identity.identifiers",
            [row for number, (w, _) in enumerate(worlds) for row in _identifiers(w, number)],
        )
        numbers = {
            (c, t): i
            for i, c, t in con.execute("select identifier_id, controller, token from identity.identifiers").fetchall()
        }
        _insert(
            con,
            "identity.denial_reach",
            [
                {"identifier_id": numbers[n], "group_id": g}
                for w, _ in worlds
                for n, groups in w.reach.items()
                for g in groups
            ],
        )
        _insert(con, "ledger.consent_events", [_event(e, w) for w, _ in worlds for e in w.events])
        _insert(con, "ledger.contracts", [_contract(c) for w, _ in worlds for c in w.contracts])
        _insert(
            con,
            "ledger.ages",
            [_fact(n, "minor_until", _naive(v)) for w, _ in worlds for n, v in w.minor_until.items()],
        )
        _insert(
            con,
            "ledger.statuses",
            [
                {**_fact(n, "status", v), "state": state, "seq": seq, "effective_at": _naive(at)}
                for w, _ in worlds
                for n, v in w.statuses.items()
                # lifted after T: at T it still restricts
                for seq, (state, at) in enumerate(
                    [("on", AS_OF - timedelta(days=9)), ("off", AS_OF + timedelta(hours=1))]
                )
            ],
        )
        _insert(con, "lake.web", [_touchpoint(t) for _, touchpoints in worlds for t in touchpoints])


def _naive(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else None


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        names = ", ".join(row)
        con.execute(f"insert into {table} ({names}) values ({', '.join('?' for _ in row)})", list(row.values()))


def _identifiers(world: World, number: int) -> list[dict[str, Any]]:
    sizes = {g: sum(1 for n, h in world.group.items() if h == g) for g in set(world.group.values())}
    return [
        {
            "identifier_id": number * 100 + index + 1,
            "controller": node[0],
            "token": node[1],
            "kind": "phone" if world.strong[node] else "cookie",
            "issuer": "test",
            "is_strong": world.strong[node],
            "is_anchor": False,
            "is_ambiguous": node in world.ambiguous,
            "group_id": world.group[node],
            "group_token": min(n[1] for n, g in world.group.items() if g == world.group[node]),
            "group_size": sizes[world.group[node]],
            "is_whole": node not in world.ambiguous,
        }
        for index, node in enumerate(world.group)
    ]


def _event(event: Event, world: World) -> dict[str, Any]:
    row = dict(vars(event))
    row["effective_at"], row["valid_until"] = _naive(event.effective_at), _naive(event.valid_until)
    return row


def _contract(contract: Contract) -> dict[str, Any]:
    row = dict(vars(contract))
    row["effective_at"], row["valid_until"] = _naive(contract.effective_at), _naive(contract.valid_until)
    return row


def _fact(node: tuple[str, str], name: str, value: Any) -> dict[str, Any]:
    return {"seq": 1, "controller": node[0], "token": node[1], name: value, "effective_at": "2020-01-01 00:00:00"}


def _touchpoint(touchpoint: Touchpoint) -> dict[str, Any]:
    """A sensitive touchpoint is a transaction with an item on policy's list."""
    sensitive = touchpoint.category == "sensitive"
    return {
        "touchpoint_key": touchpoint.key,
        "source": touchpoint.source,
        "controller": touchpoint.controller,
        "subject_token": touchpoint.token,
        "occurred_at": _naive(touchpoint.occurred_at),
        "raw_event": "order_completed" if sensitive else EVENT_OF[touchpoint.category],
        "item": "med-laser" if sensitive else "cream",
    }
