"""The last-mile recheck: whom the ledger's records since the build keep out of an audience, and why.

It only ever narrows: a grant since the build waits for the next one. What records mean in full is the dbt models'
matter; here whatever restricts, is unmapped or moves an identity keeps the people it reaches out until then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from orchestration.policy.schema import Destination, Policy, Segment

# Whose records came since the build, and which links of the lake the build has not seen: a run that failed after its
# ingestion leaves such links, and a refusal by the one end binds the other (design §4: denials use every link).
TOKENS = """
create or replace temp table recheck_tokens as
select token, controller from recheck_consent_events union select token, controller from recheck_statuses
union select token, controller from recheck_ages union select token, controller from recheck_contracts
union select token_a, controller from recheck_links union select token_b, controller from recheck_links
"""
NEW_LINKS = """
create or replace temp table recheck_new_links as
select controller, token_a, token_b from recheck_lake_links
except
select controller, token_a, token_b from identity.links
"""
STEPS = """
create or replace temp table recheck_steps as
with bound as (
    select i.controller, i.token, 'group ' || d.group_id as group_node
    from intermediate.int_identifiers_resolved as i
    inner join identity.denial_reach as d on i.identifier_id = d.identifier_id
    where i.token in (
        select token from recheck_tokens union all select unnest([token_a, token_b]) from recheck_new_links
    )
)
select controller, token_a as node, token_b as other from recheck_new_links
union all select controller, token_b, token_a from recheck_new_links
union all select controller, token, group_node from bound
union all select controller, group_node, token from bound
"""

# Everyone a token's records reach: all whose group its denials reach, itself, and whoever it is the contact of.
REACH = """
create or replace temp table recheck_reach as
with recursive walk as (
    select token, controller as said_by, token as node from recheck_tokens
    union
    select w.token, w.said_by, s.other
    from walk as w
    inner join recheck_steps as s on w.node = s.node and (w.said_by is null or w.said_by = s.controller)
    where (select count(*) from recheck_new_links) > 0
),
identified as (
    select t.token, t.said_by, i.identifier_id
    from walk as t
    inner join intermediate.int_identifiers_resolved as i
        on t.node = i.token and (t.said_by is null or t.said_by = i.controller)
)
select distinct i.token, i.said_by, r.person_key
from identified as i
inner join identity.denial_reach as d on i.identifier_id = d.identifier_id
inner join intermediate.int_identifiers_resolved as r on d.group_id = r.group_id
where r.person_key is not null
union
select i.token, i.said_by, r.person_key
from identified as i inner join intermediate.int_identifiers_resolved as r on i.identifier_id = r.identifier_id
where r.person_key is not null
union
select t.token, t.said_by, a.person_key
from walk as t inner join intermediate.int_activations_decided as a on t.node = a.contact_token
where a.person_key is not null
"""

# A restriction without a part of its scope, or with one that policy does not know, covers all of it.
RESTRICTIONS = """
create or replace temp table recheck_restrictions as
select
    'consent' as said_as, e.seq, e.effective_at, e.recorded_at,
    e.token, e.controller,
    p.purpose, c.category, r.recipient, h.channel,
    coalesce(d.reason, 'denied') as reason,
    -- what names no purpose says nothing of a contract, unless it was presumed or cannot be read (R-23)
    e.purpose is not null or d.decision is null or e.decision = 'presumed_denial' as binds_contracts
from recheck_consent_events as e
left join policy.decisions as d on e.decision = d.decision
left join policy.purposes as p on e.purpose = p.purpose
left join (select distinct category from policy.scopes) as c on e.category = c.category
left join (select distinct recipient from policy.purposes) as r on e.recipient = r.recipient
left join (select distinct channel from policy.purpose_channels) as h on e.channel = h.channel
where coalesce(d.restricts, true)
union all
select 'status', seq, effective_at, recorded_at, token, controller, null, null, null, null,
    case status
        when 'erased' then 'erased' when 'legal_hold' then 'legal_hold_use_blocked'
        when 'suppressed' then 'suppressed' else 'restricted'
    end,
    true
from recheck_statuses where state is distinct from 'off'
union all
select 'age', seq, effective_at, recorded_at, token, controller, null, null, null, null, 'minor_without_guardian', true
from recheck_ages where minor_until is null or minor_until > $now
union all
select 'contract', c.seq, c.effective_at, c.recorded_at, c.token, c.controller, f.purpose, null, null, null,
    'no_contract', true
from recheck_contracts as c inner join policy.purpose_contract_facts as f on c.fact = f.fact
where c.valid_until <= $now
union all
-- a consent that has ended takes the place of the one that admitted
select 'end', e.seq, e.effective_at, e.recorded_at, e.token, e.controller, e.purpose, null, null, null,
    'expired', true
from recheck_consent_events as e inner join policy.purposes as p on e.purpose = p.purpose
where e.valid_until <= $now
union all
-- who is whom has changed: until the next build nobody knows whose refusals these people carry
select 'link', seq, effective_at, recorded_at, unnest([token_a, token_b]), controller, null, null, null, null,
    'unresolved_identity', true
from recheck_links
"""

# The purposes that a segment rests on beside its own: of the stages that it asks for, or whose columns it reads.
STAGES = """
    select t.segment, list(g.purpose) as stage_purposes
    from policy.segment_stages as t inner join policy.stages as g on t.stage = g.stage
    group by t.segment
"""
# Whether restriction x is about activation a.
COVERS = """(x.controller is null or x.controller = a.controller)
        and (x.purpose is null or x.purpose in (a.purpose, a.identity_purpose, a.transfer_purpose)
            or list_contains(a.stage_purposes, x.purpose))
        and (x.purpose is not null or x.recipient is null or x.recipient = a.recipient)
        and (x.category is null or x.category <> 'sensitive' or a.reads_sensitive)
        and (x.channel is null or x.channel = a.channel)
        and (x.binds_contracts or not a.is_contract)"""

VERDICTS = f"""
with contract_purposes as (
    select purpose from policy.purpose_basis group by purpose having bool_and(basis = 'contract')
),
stages as ({STAGES}),
permitted as (
    select a.segment, a.destination, a.person_key, a.contact_token, a.channel, a.consent_until,
        s.purpose, s.controller, s.recipient, s.reads_sensitive, d.transfer_purpose, g.identity_purpose,
        k.purpose is not null as is_contract, h.stage_purposes
    from intermediate.int_activations_decided as a
    inner join policy.segments as s on a.segment = s.segment
    inner join policy.destinations as d on a.destination = d.destination
    cross join policy.settings as g
    left join contract_purposes as k on s.purpose = k.purpose
    left join stages as h on a.segment = h.segment
    where a.reason is null
),
verdicts as (
    select a.segment, a.destination, a.person_key, x.reason
    from permitted as a
    inner join recheck_reach as t on a.person_key = t.person_key
    inner join recheck_restrictions as x
        on t.token = x.token
        and t.said_by is not distinct from x.controller
        and {COVERS}
    union all
    select a.segment, a.destination, a.person_key, 'permission_missing'
    from permitted as a
    inner join recheck_permissions as p
        on a.contact_token = p.token and (p.channel is null or a.channel = p.channel)
        and (p.controller is null or p.controller = a.controller) and p.state is distinct from 'open'
    union all
    select segment, destination, person_key, 'expired' from permitted where consent_until <= $now
    union all
    -- a jurisdiction learned since may ask for more than the basis on which the build permitted
    select a.segment, a.destination, a.person_key,
        case when asked.basis = 'separate_consent' then 'needs_separate_consent' else 'no_consent' end
    from permitted as a
    inner join recheck_reach as t on a.person_key = t.person_key
    inner join recheck_consent_events as e
        on t.token = e.token and t.said_by is not distinct from e.controller and e.jurisdiction is not null
    inner join intermediate.int_identifiers_resolved as i on a.person_key = i.person_key
    left join policy.jurisdictions as j on e.jurisdiction = j.code
    left join policy.purpose_basis as b on a.purpose = b.purpose and j.regime = b.regime
    left join intermediate.int_bases_resolved as o on i.group_id = o.group_id and a.purpose = o.purpose
    left join intermediate.int_bases_resolved as f on f.group_id is null and a.purpose = f.purpose
    -- an unlisted jurisdiction asks for what is asked of people about whom nothing is known
    left join policy.bases as asked
        on asked.basis = coalesce(b.basis, case when j.regime is null then f.basis end, 'none')
    left join policy.bases as held on held.basis = coalesce(o.basis, f.basis, 'opt_out')
    -- a contract and a consent cannot stand for each other
    where coalesce(asked.strictness < held.strictness or (asked.basis = 'contract') <> (held.basis = 'contract'), true)
)
select v.segment, v.destination, v.person_key, arg_min(v.reason, coalesce(r.reason_order, 0)) as reason
from verdicts as v left join policy.reasons as r on v.reason = r.reason
group by v.segment, v.destination, v.person_key
"""

CLOCKS_DIFFER = timedelta(hours=1)  # between two hosts; beyond it one of them is wrong, and nothing is known (B8)
SINCE = ("consent_events", "permissions", "contracts", "ages", "statuses", "links")


def recheck(
    con: duckdb.DuckDBPyConnection, since_build: dict[str, pa.Table], *, links: Sequence[Path], now: datetime
) -> None:
    """Writes the temp table `recheck_excluded(segment, destination, person_key, reason)`.

    `con` has the published generation; `since_build` are the ledger's records after it, from `Ledger.staged`; `links`
    are the lake's files of links as they are now."""
    gather(con, since_build, links=links, now=now)
    con.execute(f"create or replace temp table recheck_excluded as {VERDICTS}", {"now": _naive(now)})


def gather(
    con: duckdb.DuckDBPyConnection, records: dict[str, pa.Table], *, links: Sequence[Path], now: datetime
) -> None:
    """Writes the temp tables `recheck_restrictions`, and `recheck_reach`: whom the records of each token reach."""
    for name in SINCE:
        con.register(f"recheck_{name}", records[name])
    lake = con.read_parquet([str(path) for path in links], union_by_name=True) if links else records["links"]
    con.register("recheck_lake_links", lake)
    for statement in (TOKENS, NEW_LINKS, STEPS, REACH):
        con.execute(statement)
    con.execute(RESTRICTIONS, {"now": _naive(now)})


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def stale_controllers(feeds: pa.Table, policy: Policy, *, now: datetime) -> frozenset[str]:
    """The controllers for whom a consent feed is incomplete, or silent beyond its `max_staleness_hours` (H2, H3)."""
    speaks_for = {feed.name: feed.controllers for feed in policy.sources.consent_feeds}
    stale = [row["feed"] for row in feeds.to_pylist() if _is_stale(row, now)]
    return frozenset(controller for feed in stale for controller in speaks_for.get(feed, ()))


def _is_stale(feed: dict[str, Any], now: datetime) -> bool:
    if feed["is_incomplete"]:
        return True
    if feed["max_staleness_hours"] is None:
        return False
    seen: datetime | None = feed["last_seen_at"]
    if seen is None:
        return True
    silent = now - seen.replace(tzinfo=UTC)
    return silent > timedelta(hours=feed["max_staleness_hours"]) or silent < -CLOCKS_DIFFER  # heard in the future


Stop = Literal["feed_stale", "transfer_not_allowed", "below_minimum_size"]


def stop(
    policy: Policy, segment: Segment, destination: Destination, *, stale: frozenset[str], people: int
) -> Stop | None:
    """The reason for which a whole audience of `people` stays here, if any; the first in the order of evaluation."""
    at_home = {c.name: c.country for c in policy.organisation.controllers}[segment.controller]
    if destination.country != at_home and destination.transfer is None:
        return "transfer_not_allowed"
    if segment.controller in stale:
        return "feed_stale"
    return "below_minimum_size" if people < segment.minimum_size else None
