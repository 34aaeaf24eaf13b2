"""The queries behind the explanation of one person: each answers one question about a generation's file.

Tokens and keys go in as parameters and never come out. Not here: what the answers mean (`person.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from orchestration.exports.recheck import SINCE

Row = dict[str, Any]
Con = duckdb.DuckDBPyConnection

IDENTIFIERS = """
select
    kind, issuer, is_strong, is_ambiguous, token = $asked as is_asked,
    person_key is not distinct from $person as is_same_person
from intermediate.int_identifiers_resolved
where controller = $controller and group_id = $group
order by is_asked desc, is_strong desc, kind, issuer
"""
# Of each pair that a record ever named: since when, how, and whether the last record up to T unlinked them.
LINKS = """
select
    kind_a, issuer_a, kind_b, issuer_b,
    arg_max(method, effective_at) as method,
    min(effective_at) as linked_at,
    max(recorded_at) as recorded_at,
    arg_max(is_unlink, (effective_at, is_unlink)) as is_unlinked
from identity.links
where controller = $controller and (token_a in $tokens or token_b in $tokens)
group by token_a, token_b, kind_a, issuer_a, kind_b, issuer_b
order by linked_at, kind_a, kind_b
"""
TOUCHPOINTS = """
select
    d.purpose, t.source, t.category, coalesce(d.reason, 'permit') as reason, count(*) as touchpoints,
    min(t.occurred_at) as first_at, max(t.occurred_at) as last_at
from intermediate.int_touchpoints_masked as t
inner join intermediate.int_decisions as d on t.touchpoint_key = d.touchpoint_key
where {whose}
group by all
order by all
"""
EVENTS = """
with said as (
    select 'consent' as type, seq, token, kind, issuer, controller, decision, purpose, category, channel, method,
        is_separate, is_guardian, notice_id, notice_version, feed, effective_at, recorded_at, valid_until
    from ledger.consent_events where seq in $sequences
    union all by name
    select 'contract' as type, seq, token, kind, issuer, controller, fact, effective_at, recorded_at, valid_until
    from ledger.contracts where seq in $sequences
    union all by name
    select 'status' as type, seq, token, kind, issuer, controller, status as fact, state as decision,
        effective_at, recorded_at
    from ledger.statuses where token in $tokens and controller = $controller
    union all by name
    select 'age' as type, seq, token, kind, issuer, controller, effective_at, recorded_at, minor_until as valid_until
    from ledger.ages where token in $tokens and controller = $controller
)
select * exclude (token), token = $asked as by_asked from said order by seq
"""


def rows(con: Con, sql: str, values: dict[str, Any]) -> list[Row]:
    result = con.execute(sql, values)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def identities(con: Con, token: str) -> list[Row]:
    """The identifier as each controller knows it."""
    return rows(con, "select * from intermediate.int_identifiers_resolved where token = $token", {"token": token})


def tokens(con: Con, identity: Row) -> list[str]:
    """The tokens of the identifiers that are the same person; of an ambiguous one its own alone."""
    if identity["person_key"] is None:
        return [identity["token"]]
    found = rows(
        con,
        "select token from intermediate.int_identifiers_resolved where person_key = $person order by token",
        {"person": identity["person_key"]},
    )
    return [row["token"] for row in found]


def identifiers(con: Con, identity: Row, asked: str) -> list[Row]:
    """Every identifier of the group, and whether it counts as the same person."""
    values = {"asked": asked, "person": identity["person_key"], "group": identity["group_id"]}
    return rows(con, IDENTIFIERS, {**values, "controller": identity["controller"]})


def people_reached(con: Con, identity: Row) -> int:
    """How many people a refusal on the identifier binds."""
    found = rows(
        con,
        "select count(distinct o.person_key) as people from identity.denial_reach as r "
        "inner join intermediate.int_identifiers_resolved as o on r.group_id = o.group_id "
        "where r.identifier_id = $identifier",
        {"identifier": identity["identifier_id"]},
    )
    return int(found[0]["people"])


def links(con: Con, tokens: Sequence[str], controller: str) -> list[Row]:
    return rows(con, LINKS, {"tokens": list(tokens), "controller": controller})


def touchpoints(con: Con, identity: Row) -> list[Row]:
    """Touchpoints by purpose, source, category and reason: of the person, or of an ambiguous identifier alone."""
    if identity["person_key"] is None:
        return rows(con, TOUCHPOINTS.format(whose="t.identifier_id = $id"), {"id": identity["identifier_id"]})
    whose = "t.person_key = $person and d.person_key = $person"
    return rows(con, TOUCHPOINTS.format(whose=whose), {"person": identity["person_key"]})


def events(con: Con, sequences: Sequence[int], tokens: Sequence[str], controller: str, asked: str) -> list[Row]:
    """The ledger's records that decide or admit, and those about age and status."""
    values = {"sequences": list(sequences), "tokens": list(tokens), "controller": controller, "asked": asked}
    return rows(con, EVENTS, values)


def since_build(con: Con, tokens: Sequence[str], person: str | None, controller: str) -> list[Row]:
    """What the ledger has learned since, of the person or of anybody whose refusal reaches them."""
    found: list[Row] = []
    for table in SINCE:
        named = "token_a in $tokens or token_b in $tokens" if table == "links" else "token in $tokens"
        reach = "token_a" if table == "links" else "token"
        found += rows(
            con,
            f"select '{table}' as type, * exclude ({'token_a, token_b' if table == 'links' else 'token'}) "
            f"from recheck_{table} where (controller is null or controller = $controller) and ({named} "
            f"or {reach} in (select token from recheck_reach where person_key = $person)) order by seq",
            {"tokens": list(tokens), "person": person, "controller": controller},
        )
    return sorted(found, key=lambda row: row["seq"])


def stage(con: Con, person: str, controller: str) -> Row | None:
    """The stage of the relationship, and whether the consent that opened it still holds; a generation of before there
    were stages knows none."""
    has_stages = "select 1 from information_schema.tables where table_name = 'int_people_staged'"
    if not rows(con, has_stages, {}):
        return None
    sql = "select stage, is_open from intermediate.int_people_staged where person_key = $p and controller = $c"
    found = rows(con, sql, {"p": person, "c": controller})
    return found[0] if found else None


def status_reason(con: Con, person: str) -> str | None:
    """Erased, restricted or on hold: then nothing is permitted, whatever was consented to."""
    found = rows(con, "select max(status_reason) as r from intermediate.int_units where person_key = $p", {"p": person})
    return found[0]["r"] if found else None


def is_mismatched(con: Con, person: str, purpose: str) -> bool:
    """Whether the consent was given to another controller only."""
    sql = (
        "select 1 from intermediate.int_mismatches as m "
        "inner join intermediate.int_units as u on m.unit_id = u.unit_id "
        "where u.person_key = $person and m.purpose = $purpose limit 1"
    )
    return bool(rows(con, sql, {"person": person, "purpose": purpose}))


def reason_order(con: Con) -> dict[str, int]:
    return {
        row["reason"]: row["reason_order"] for row in rows(con, "select reason, reason_order from policy.reasons", {})
    }
