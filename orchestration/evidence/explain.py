"""Says for one identifier why it is in a segment or not, down to the ledger event and the notice that admit it.

The answer is read from the published generation; the recheck adds what the ledger has learned since."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb

from orchestration.consent.answers.state import read_identifier
from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError
from orchestration.evidence.labels import Labels
from orchestration.exports.cells import write_moment
from orchestration.exports.recheck import recheck
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.lake import link_files
from orchestration.policy.schema import Policy, Segment
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse.publish import connect_published, published

# Not reasons of a decision: nothing was denied, the segment's own rule did not choose the person.
NOT_SEEN, NOT_SELECTED = "not_seen", "not_selected"


@dataclass(frozen=True)
class Admission:
    """The ledger event that admits a person, and the notice it names."""

    seq: int
    decision: str
    purpose: str | None
    category: str | None
    method: str | None
    feed: str
    effective_at: str
    recorded_at: str
    notice_id: str | None
    notice_version: str | None


@dataclass(frozen=True)
class Activation:
    """What happens at one destination: `reason` None means it leaves; `since_build` that only the recheck keeps it."""

    destination: str
    channel: str
    reason: str | None
    since_build: bool


@dataclass(frozen=True)
class Explanation:
    """In or out, the step that decided, and why. Codes only; labels are the policy's and the vocabulary's."""

    segment: str
    purpose: str
    generation: str
    as_of: str
    is_member: bool
    step: str  # the last step reached: all, known, permitted, in_segment
    reason: str | None
    admission: Admission | None
    consent_until: str | None
    activations: tuple[Activation, ...]
    touchpoints: dict[str, int]  # of the person, by the purpose's decision
    scopes: tuple[dict[str, Any], ...]  # the consent in force at T for each category of the purpose

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def explain(
    home: Home,
    policy: Policy,
    keys: Keys,
    segment: str,
    identifier: str,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
) -> Explanation:
    """Why the person with `identifier` (`kind:issuer:value`) is in `segment` or not, in the published generation.

    The identifier is never stored or repeated. Raises AssentError for an unknown segment or an unreadable one."""
    chosen = next((s for s in policy.segments.segments if s.name == segment), None)
    generation = published(home)
    if chosen is None:
        raise AssentError("no such segment", where=segment, remedy="`assent segments` lists them")
    if generation is None:
        raise AssentError("nothing is published", where=str(home.root), remedy="Run `assent run` first")
    token = read_identifier(policy, keys, identifier).token
    with open_ledger(home, keys, ledger_at) as (ledger, registry):
        staged = ledger.staged(registry, policy, since=generation.ledger_seq)
    con = connect_published(home)
    try:
        recheck(con, staged, links=link_files(home), now=now)
        found = _one(con, "select person_key, is_ambiguous from intermediate.int_identifiers_resolved "
                     "where token = $token and controller = $controller",
                     {"token": token, "controller": chosen.controller})  # fmt: skip
        person = None if found is None else found["person_key"]
        step, reason, member = membership_of(con, segment, found)
        return Explanation(
            segment=segment,
            purpose=chosen.purpose,
            generation=generation.generation,
            as_of=write_moment(generation.as_of),
            is_member=member is not None,
            step=step,
            reason=reason,
            admission=admission_of(con, member),
            consent_until=write_moment(member["consent_until"]) or None if member else None,
            activations=activations_of(con, segment, person),
            touchpoints=_touchpoints(con, chosen, person),
            scopes=tuple(scopes_of(con, chosen.purpose, chosen.controller, person)),
        )
    finally:
        con.close()


Found = dict[str, Any] | None


def membership_of(con: duckdb.DuckDBPyConnection, segment: str, identifier: Found) -> tuple[str, str | None, Found]:
    """The step reached, the reason for stopping there, and the row in the segment for a member."""
    if identifier is None:
        return "all", "unresolved_identity", None
    if identifier["person_key"] is None:
        return "all", "ambiguous_identity" if identifier["is_ambiguous"] else "unresolved_identity", None
    row = _one(
        con,
        "select is_permitted, is_member, reason, admitted_by, "
        "case when isfinite(consent_until) then consent_until end as consent_until "
        "from intermediate.int_segment_people where segment = $segment and person_key = $person",
        {"segment": segment, "person": identifier["person_key"]},
    )
    if row is None:
        return "known", NOT_SEEN, None
    if row["is_member"]:
        return "in_segment", None, row
    return ("permitted" if row["is_permitted"] else "known"), row["reason"] or NOT_SELECTED, None


def admission_of(con: duckdb.DuckDBPyConnection, member: Found) -> Admission | None:
    """The consent event, or the contract, that admits; None in an opt-out regime, where the silence does."""
    if member is None or member["admitted_by"] is None:
        return None
    at = {"seq": member["admitted_by"]}
    event = _one(
        con,
        "select seq, decision, purpose, category, method, feed, effective_at, recorded_at, notice_id, notice_version "
        "from ledger.consent_events where seq = $seq",
        at,
    ) or _one(
        con,
        "select seq, 'contract' as decision, null as purpose, null as category, fact as method, '' as feed, "
        "effective_at, recorded_at, null as notice_id, null as notice_version from ledger.contracts where seq = $seq",
        at,
    )
    if event is None:
        return None
    clocks = {name: write_moment(event[name]) for name in ("effective_at", "recorded_at")}
    return Admission(**{**event, **clocks})


def activations_of(con: duckdb.DuckDBPyConnection, segment: str, person: str | None) -> tuple[Activation, ...]:
    rows = con.execute(
        "select a.destination, a.channel, coalesce(a.reason, x.reason) as reason, "
        "a.reason is null and x.reason is not null as since_build "
        "from intermediate.int_activations_decided as a left join recheck_excluded as x "
        "using (segment, destination, person_key) "
        "where a.segment = $segment and a.person_key = $person order by a.destination",
        {"segment": segment, "person": person},
    ).fetchall()
    return tuple(Activation(*row) for row in rows)


def _touchpoints(con: duckdb.DuckDBPyConnection, segment: Segment, person: str | None) -> dict[str, int]:
    rows = con.execute(
        "select coalesce(reason, 'permit'), count(*) from intermediate.int_decisions "
        "where person_key = $person and purpose = $purpose and controller = $controller group by all order by all",
        {"person": person, "purpose": segment.purpose, "controller": segment.controller},
    ).fetchall()
    return dict(rows)


def scopes_of(
    con: duckdb.DuckDBPyConnection, purpose: str, controller: str, person: str | None
) -> list[dict[str, Any]]:
    """The consent in force at T for each category of a purpose; `is_own`: of one weak identifier alone."""
    rows = con.execute(
        "select p.category, p.reason, p.admitted_by, p.decided_by, e.decision, "
        "e.notice_id || '@' || e.notice_version as notice, e.effective_at, "
        "case when isfinite(p.consent_until) then p.consent_until end as consent_until, p.is_own "
        "from intermediate.int_permissions_now as p left join ledger.consent_events as e on p.decided_by = e.seq "
        "where p.person_key = $person and p.purpose = $purpose and p.controller = $controller "
        "order by p.scope_bit, p.is_own, p.decided_by",
        {"person": person, "purpose": purpose, "controller": controller},
    )
    names = [column[0] for column in rows.description or ()]
    found = [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
    clocks = ("effective_at", "consent_until")
    return [{**scope, **{clock: write_moment(scope[clock]) or None for clock in clocks}} for scope in found]


def _one(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any]) -> Found:
    result = con.execute(sql, values)
    row = result.fetchone()
    return None if row is None else dict(zip([c[0] for c in result.description or ()], row, strict=True))


def told(found: Explanation, policy: Policy) -> list[str]:
    """The explanation as lines that people read, in both languages. Holds no identifier."""
    labels = Labels(policy)

    def both(code: str, kind: str = "") -> str:
        text = labels(code, kind)
        return f"{code} ({text.en} / {text.zh})"

    lines = [
        f"{'IN' if found.is_member else 'OUT'}  {both(found.segment, 'segment')}",
        f"  generation {found.generation}, as of {found.as_of}",
        f"  purpose    {both(found.purpose, 'purpose')}",
        f"  reached    {both(found.step)}",
    ]
    if found.reason is not None:
        lines.append(f"  reason     {both(found.reason)}")
    if found.admission is not None:
        event = found.admission
        lines.append(
            f"  admitted   by ledger event {event.seq}: {event.decision} by {event.method}, "
            f"effective {event.effective_at}, recorded {event.recorded_at}"
        )
        if event.notice_id is not None:
            lines.append(f"  notice     {event.notice_id}, version {event.notice_version}")
    if found.consent_until is not None:
        lines.append(f"  until      {found.consent_until}")
    for scope in found.scopes:
        by = f", by ledger event {scope['decided_by']}" if scope["decided_by"] is not None else ""
        if scope["decision"] is not None:
            by += f" ({scope['decision']}, effective {scope['effective_at']}, notice {scope['notice'] or 'none'})"
        lines.append(f"  consent    {both(scope['category'])}: {both(scope['reason'] or 'permit')}{by}")
    for activation in found.activations:
        since = ", by what the ledger has learned since the build" if activation.since_build else ""
        verdict = "leaves" if activation.reason is None else both(activation.reason) + since
        lines.append(f"  to         {both(activation.destination, 'destination')}: {verdict}")
    if found.touchpoints:
        lines.append("  touchpoints " + ", ".join(f"{code} {number}" for code, number in found.touchpoints.items()))
    return lines
