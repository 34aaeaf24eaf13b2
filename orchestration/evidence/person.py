"""Gathers, for one identifier, what a generation says of the person behind it: every purpose, every segment, and why.

Codes, counts and times only: no identifier, token or key of a person comes out. Not here: sentences (`person_text.py`),
and one segment alone (`explain.py`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.consent.models import Subject
from orchestration.evidence import person_queries as ask
from orchestration.evidence.explain import (
    activations_of,
    admission_of,
    membership_of,
    scopes_of,
)
from orchestration.exports import deliveries
from orchestration.exports.cells import write_moment
from orchestration.exports.manifest import read_manifest
from orchestration.home import Home
from orchestration.policy.schema import Policy, Segment

Row = dict[str, Any]


@dataclass(frozen=True)
class Basis:
    """Which generation answers: in force, kept, or rebuilt for the purpose."""

    generation: str
    as_of: str
    policy_hash: str
    ledger_seq: int
    known_at: str  # until when what the ledger learned after the build is counted in
    source: str = "published"  # published, kept or replayed


@dataclass(frozen=True)
class AtController:
    """The person as one controller knows them; two controllers' data are never joined."""

    controller: str
    status: str  # person, ambiguous_identity, unresolved_identity
    stage: Row | None  # of the relationship: its name, and whether the consent that opened it still holds
    is_joined: bool
    people_reached: int  # by a refusal on the asked identifier
    identifiers: tuple[Row, ...]
    links: tuple[Row, ...]
    purposes: tuple[Row, ...]
    segments: tuple[Row, ...]
    touchpoints: tuple[Row, ...]
    events: tuple[Row, ...]
    since_build: tuple[Row, ...]
    delivered: tuple[Row, ...]


@dataclass(frozen=True)
class Person:
    """The whole answer for one identifier."""

    basis: Basis
    kind: str
    issuer: str
    is_known: bool
    is_ambiguous: bool
    at: tuple[AtController, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def explain_person(
    con: duckdb.DuckDBPyConnection,
    home: Home,
    policy: Policy,
    subject: Subject,
    basis: Basis,
    *,
    segment: str | None = None,
    outbox: bool = True,
) -> Person:
    """Everything that the generation in `con` says of `subject`. `con` has been rechecked (`exports/recheck.py`).
    `segment`: of the segments only this one. `outbox`: whether the outbox is of this generation."""
    found = {row["controller"]: row for row in ask.identities(con, subject.token)}
    at = [
        _at(con, home, policy, subject, controller.name, found.get(controller.name), segment, outbox, basis)
        for controller in policy.organisation.controllers
    ]
    is_ambiguous = any(row["is_ambiguous"] for row in found.values())
    return Person(basis, subject.kind, subject.issuer, bool(found), is_ambiguous, tuple(at))


def _at(
    con: duckdb.DuckDBPyConnection,
    home: Home,
    policy: Policy,
    subject: Subject,
    controller: str,
    identity: Row | None,
    segment: str | None,
    outbox: bool,
    basis: Basis,
) -> AtController:
    person = None if identity is None else identity["person_key"]
    status = _status(identity)
    tokens = [subject.token] if identity is None else ask.tokens(con, identity)
    segments = tuple(
        _segment(con, home, chosen, identity, basis if outbox else None)
        for chosen in policy.segments.segments
        if chosen.controller == controller and segment in (None, chosen.name)
    )
    purposes = tuple(
        _purpose(con, policy, purpose.name, controller, person, status)
        for purpose in policy.purposes.purposes
        if controller in purpose.controllers
    )
    return AtController(
        controller=controller,
        status=status,
        stage=None if person is None else ask.stage(con, person, controller),
        is_joined=bool(identity and identity.get("is_joined")),
        people_reached=0 if identity is None else ask.people_reached(con, identity),
        identifiers=() if identity is None else told(ask.identifiers(con, identity, subject.token)),
        links=() if identity is None else told(ask.links(con, tokens, controller)),
        purposes=purposes,
        segments=segments,
        touchpoints=() if identity is None else told(ask.touchpoints(con, identity)),
        events=told(ask.events(con, _sequences(purposes, segments), tokens, controller, subject.token)),
        since_build=told(ask.since_build(con, tokens, person, controller)),
        delivered=told(_delivered(home, tokens, segments)),
    )


def _status(identity: Row | None) -> str:
    if identity is None:
        return "unresolved_identity"
    if identity["person_key"] is not None:
        return "person"
    return "ambiguous_identity" if identity["is_ambiguous"] else "unresolved_identity"


def _segment(
    con: duckdb.DuckDBPyConnection, home: Home, segment: Segment, identity: Row | None, basis: Basis | None
) -> Row:
    step, reason, member = membership_of(con, segment.name, identity)
    person = None if identity is None else identity["person_key"]
    admission = admission_of(con, member)
    until = write_moment(member["consent_until"]) or None if member else None
    places = [asdict(activation) for activation in activations_of(con, segment.name, person)]
    return {
        "segment": segment.name,
        "purpose": segment.purpose,
        "is_member": member is not None,
        "step": step,
        "reason": reason,
        "admitted_by": None if admission is None else admission.seq,
        "consent_until": until,
        "destinations": [{**place, "file": _file(home, segment.name, place, basis)} for place in places],
    }


def _file(home: Home, segment: str, place: Row, basis: Basis | None) -> Row | None:
    """The file that lies in the outbox for this destination, if any."""
    if basis is None:
        return None
    manifest = read_manifest(home.outbox / segment / place["destination"] / basis.generation)
    if manifest is None:
        return None
    return {
        "status": manifest.status,
        "written_at": write_moment(manifest.written_at),
        "expires_at": write_moment(manifest.expires_at),
    }


def _purpose(
    con: duckdb.DuckDBPyConnection, policy: Policy, purpose: str, controller: str, person: str | None, status: str
) -> Row:
    scopes = told(scopes_of(con, purpose, controller, person)) if person else ()
    is_permitted = any(scope["reason"] is None and not scope["is_own"] for scope in scopes)
    reason = None if is_permitted else _reason(con, policy, purpose, person, status, scopes)
    return {"purpose": purpose, "is_permitted": is_permitted, "reason": reason, "scopes": list(scopes)}


def _reason(
    con: duckdb.DuckDBPyConnection, policy: Policy, purpose: str, person: str | None, status: str, scopes: Any
) -> str:
    """Why nothing of a purpose is permitted: the reason that came nearest to a permit, in the order of evaluation."""
    if person is None:
        return status
    if (blocked := ask.status_reason(con, person)) is not None:
        return blocked
    order = ask.reason_order(con)
    reasons = [scope["reason"] for scope in scopes if scope["reason"] is not None and not scope["is_own"]]
    nearest = max(reasons, key=lambda reason: order.get(reason, 0), default="no_consent")
    if nearest == "no_consent" and ask.is_mismatched(con, person, purpose):
        return "controller_mismatch"
    rests_on_contract = next(p.contract_facts for p in policy.purposes.purposes if p.name == purpose)
    return "no_contract" if nearest == "no_consent" and rests_on_contract else nearest


def _sequences(purposes: tuple[Row, ...], segments: tuple[Row, ...]) -> list[int]:
    named = {scope[which] for p in purposes for scope in p["scopes"] for which in ("decided_by", "admitted_by")}
    return sorted((named | {segment["admitted_by"] for segment in segments}) - {None})


def _delivered(home: Home, tokens: list[str], segments: tuple[Row, ...]) -> list[Row]:
    """What destinations have received of this person, and when it was taken back, by the log of deliveries."""
    names = {segment["segment"] for segment in segments}
    found = []
    logs: tuple[deliveries.Log, ...] = ("deliveries", "removals")
    for log in logs:
        table = deliveries.log(home, log)
        table = table.filter(pc.is_in(table["token"], value_set=pa.array(tokens, pa.string())))
        found += [
            {**row, "what": log, "at": row.pop("delivered_at")}
            for row in table.drop_columns(["token"]).to_pylist()
            if row["segment"] in names
        ]
    return sorted(found, key=lambda row: (row["at"], row["segment"], row["destination"]))


def told(rows: list[Row] | tuple[Row, ...]) -> tuple[Row, ...]:
    """Rows with instants as text."""
    return tuple(
        {name: write_moment(value) or None if isinstance(value, datetime) else value for name, value in row.items()}
        for row in rows
    )
