"""A project of the shape of ours, as small as it can be, of whose models tests replace one at a time."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime

from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from orchestration.proof.analysis import Analysis
from orchestration.proof.project import Project, Relation
from orchestration.proof.static import prove_statically
from orchestration.proof.verdict import Verdict
from orchestration.warehouse.relations import DECLARED, relations

NOW = datetime(2026, 11, 26, tzinfo=UTC)
MART = "marts.wechat_engaged"  # of purpose sms_marketing, controller shop; it shows no column of its own
TOUCHPOINTS = """(
    select * from intermediate.int_touchpoints_gated_by_purpose
    where purpose = 'sms_marketing' and controller = 'shop' and category <> 'sensitive'
        and occurred_at >= (select b.as_of from meta.builds as b) - to_days(30)
)"""
MEMBERS = """select k.audience_key, a.admitted_by, a.notice, a.consent_until
    from people as p
    inner join intermediate.int_segment_people_permitted as a
        on p.person_key = a.person_key and a.segment = 'wechat_engaged'
    inner join intermediate.int_audience_keys as k on p.person_key = k.person_key and k.purpose = 'sms_marketing'
"""
ENGAGED = f"""with touchpoints as (select * from {TOUCHPOINTS}),
people as (select person_key, count(*) as touches from touchpoints group by person_key having touches >= 2)
{MEMBERS}"""
MODELS: Mapping[str, str] = {
    "staging.stg_web__touchpoints": """
        select touchpoint_key, source, controller, subject_token, occurred_at, raw_event, item,
            cast(null as varchar) as store, amount
        from lake.web""",
    "staging.stg_in_store__touchpoints": """
        select touchpoint_key, source, controller, subject_token, occurred_at, raw_event, item, store, amount
        from lake.in_store""",
    "intermediate.int_touchpoints_classified": """
        with t as (
            select * from staging.stg_web__touchpoints union all by name select * from staging.stg_in_store__touchpoints
        )
        select t.touchpoint_key, t.source, t.controller, t.subject_token, t.occurred_at, e.event, t.item, t.store,
            t.amount, case when starts_with(t.store, 'clinic') then 'sensitive' else e.category end as category
        from t left join policy.events as e on t.source = e.source and t.raw_event = e.raw_event""",
    "intermediate.int_consent_intervals": """
        select i.identifier_id as unit_id, s.scope_bit, e.effective_at as t0, e.valid_until as t1,
            case when e.decision <> 'grant' then coalesce(d.reason, 'denied') end as reason
        from ledger.consent_events as e
        inner join identity.identifiers as i on e.token = i.token
        inner join policy.scopes as s on e.purpose = s.purpose
        left join policy.decisions as d on e.decision = d.decision""",
    "intermediate.int_timelines": """
        with in_force as (
            select unit_id, scope_bit from intermediate.int_consent_intervals
            where reason is null and t0 <= (select b.as_of from meta.builds as b)
                and (select b.as_of from meta.builds as b) < t1
        ),
        permitted as (
            select i.unit_id, i.t0, i.t1, s.scope_mask
            from intermediate.int_consent_intervals as i inner join policy.scopes as s on i.scope_bit = s.scope_bit
            inner join in_force as f on i.unit_id = f.unit_id and i.scope_bit = f.scope_bit
            where i.reason is null
        ),
        changes as (
            select unit_id, t0 as changed_at, scope_mask as change from permitted
            union all select unit_id, t1, -scope_mask from permitted
            union all select 0, timestamp '-infinity', 0
        ),
        summed as (select unit_id, changed_at, sum(change) as change from changes group by unit_id, changed_at)
        select unit_id, changed_at as t0, lead(changed_at, 1, timestamp 'infinity') over by_time as t1,
            cast(sum(change) over by_time as bigint) as mask_then
        from summed window by_time as (partition by unit_id order by changed_at)""",
    "intermediate.int_timelines_by_identifier": """
        select i.controller, i.token, i.group_token as person_key, l.unit_id, l.t0, l.t1, l.mask_then
        from identity.identifiers as i inner join intermediate.int_timelines as l on i.identifier_id = l.unit_id""",
    "intermediate.int_masks_kept": """
        with ages as (
            select controller, category, retention_days,
                (select b.as_of from meta.builds as b) - to_days(retention_days::integer) as kept_from
            from policy.scopes
        )
        select a.controller, a.category, a.kept_from, timestamp 'infinity' as kept_to,
            cast(sum(s.scope_mask) as bigint) as mask_kept
        from ages as a
        inner join policy.scopes as s
            on a.controller = s.controller and a.category = s.category and s.retention_days >= a.retention_days
        group by all""",
    "intermediate.int_touchpoints_masked": """
        select t.* exclude (subject_token), l.person_key, l.unit_id,
            coalesce(l.mask_then & k.mask_kept, 0) as permitted_mask
        from intermediate.int_touchpoints_classified as t
        left join intermediate.int_timelines_by_identifier as l
            on t.controller = l.controller and t.subject_token = l.token
            and l.t0 <= t.occurred_at and t.occurred_at < l.t1
        left join intermediate.int_masks_kept as k
            on t.controller = k.controller and t.category = k.category
            and k.kept_from <= t.occurred_at and t.occurred_at < k.kept_to""",
    "intermediate.int_touchpoints_gated": """
        select * from intermediate.int_touchpoints_masked where permitted_mask <> 0 and person_key is not null""",
    "intermediate.int_touchpoints_gated_by_purpose": """
        select t.* exclude (permitted_mask), s.purpose, s.recipient, s.scope_bit
        from intermediate.int_touchpoints_gated as t
        inner join policy.scopes as s
            on t.controller = s.controller and t.category = s.category and (t.permitted_mask & s.scope_mask) <> 0""",
    "intermediate.int_segment_people_considered": """
        select g.segment, g.purpose, t.person_key,
            case when bool_and(permitted_mask = 0) then 'no_consent' end as reason
        from intermediate.int_touchpoints_masked as t inner join policy.segments as g on t.controller = g.controller
        group by g.segment, g.purpose, t.person_key""",
    "intermediate.int_segment_people_permitted": """
        select segment, person_key, 1 as admitted_by, 'n' as notice, timestamp 'infinity' as consent_until
        from intermediate.int_segment_people_considered where reason is null""",
    "intermediate.int_audience_keys": """
        select p.person_key, p.purpose, sha256(k.key || p.person_key) as audience_key
        from intermediate.int_segment_people_considered as p
        inner join identity.purpose_keys as k on p.purpose = k.purpose""",
    "intermediate.int_people_staged": """
        select group_token as person_key, controller, 'light' as stage, true as is_open from identity.identifiers""",
    MART: ENGAGED,
}  # fmt: skip


def project(models: Mapping[str, str] | None = None, *, unnamed: frozenset[str] = frozenset()) -> Project:
    """The project with some models replaced or added. `unnamed` are relations that no ref() or source() names."""
    written = {**MODELS, **(models or {})}
    sources = [
        Relation(f"{schema}.{table}", "source", schema, columns=tuple(columns))
        for schema, tables in {**DECLARED, **relations(load_policy())}.items()
        for table, columns in tables.items()
    ]
    names = {relation.name for relation in sources} | set(written)
    made = [_model(name, sql, names - unnamed) for name, sql in written.items()]
    return Project((*sources, *_in_order(made)))


def prove(
    models: Mapping[str, str] | None = None,
    *,
    relation: str = MART,
    policy: Policy | None = None,
    unnamed: frozenset[str] = frozenset(),
) -> Verdict:
    """The static verdict on one relation."""
    whole = project(models, unnamed=unnamed)
    found = prove_statically(whole, policy or load_policy(), as_of=NOW, like=None if policy else _as_it_is())
    return next(verdict for verdict in found if verdict.relation == relation)


@functools.cache
def _as_it_is() -> Analysis:
    return Analysis.of(project(), load_policy())


def _model(name: str, sql: str, names: set[str]) -> Relation:
    reads = tuple(sorted(other for other in names if f"{other} " in f"{sql} ".replace("\n", " ").replace(")", " ")))
    meta = {"people": {"category": "count"}, "segment": {"category": "code"}, "reason": {"category": "code"}}
    kind = "table" if name in MODELS else "view"
    layer = name.partition(".")[0]
    return Relation(name, "model", layer, sql=sql, reads=reads, column_meta=meta, materialized=kind)


def _in_order(models: list[Relation]) -> list[Relation]:
    made = {model.name for model in models}
    done: list[Relation] = []
    while len(done) < len(models):
        known = {model.name for model in done}
        done += [m for m in models if m.name not in known and not (set(m.reads) & made - known - {m.name})]
    return done
