-- Each ledger event beside each scope it covers, with the reason for which a grant does not count, and when it ends.
-- A part that a grant leaves out is read as the narrowest, in a restriction as the widest (design §4).
-- A restriction that names a purpose means it, whichever recipient it names beside it.
{% set build_at = as_of() %}
with identifiers as (
    select
        identifier_id, controller, token, is_strong, group_id,
        coalesce(held_since, timestamp '-infinity') as held_since    -- what was granted before, a former holder granted
    from {{ source('identity', 'identifiers') }}
),

decided as (
    select
        e.seq, i.identifier_id, i.is_strong, i.group_id, i.held_since, e.controller, e.purpose, e.category, e.recipient, e.channel,
        e.method, e.is_separate, e.is_guardian, e.notice_id, e.notice_version, e.effective_at, e.valid_until, d.reason,
        coalesce(d.restricts, true) as restricts,
        e.decision = 'presumed_denial' as is_presumed
    from {{ source('ledger', 'consent_events') }} as e
    inner join identifiers as i on e.controller = i.controller and e.token = i.token
    left join {{ source('policy', 'decisions') }} as d on e.decision = d.decision
),

-- each scope, and what says it: its purpose; or none, which in a restriction means every purpose
spelled as (
    select s.*, s.purpose as said from {{ source('policy', 'scopes') }} as s
    union all
    select s.*, null as said from {{ source('policy', 'scopes') }} as s
),

covered as (
    select
        d.*,
        s.scope_bit,
        s.needs_separate,
        p.is_explicit,
        p.max_consent_age_days,
        s.purpose as scope_purpose,
        coalesce(own.basis, fallback.basis) as basis
    from decided as d
    inner join spelled as s
        on d.controller = s.controller
        and d.purpose is not distinct from s.said and (d.purpose is not null or d.restricts)
        and (d.category = s.category or (d.category is null and (d.restricts or s.category <> 'sensitive')))
        -- a category that a purpose took in later is covered by older grants only where they name it (R-35)
        and (d.restricts or d.category is not null or coalesce(d.effective_at >= s.since, true))
        and (
            d.recipient = s.recipient
            or (d.recipient is null and (d.restricts or s.recipient = 'own'))
            or (d.restricts and d.purpose is not null)
        )
    inner join {{ source('policy', 'purposes') }} as p on s.purpose = p.purpose
    left join {{ ref('int_bases_resolved') }} as own on d.group_id = own.group_id and s.purpose = own.purpose
    left join {{ ref('int_bases_resolved') }} as fallback on fallback.group_id is null and s.purpose = fallback.purpose
),

notices as (
    select n.notice_id, n.version, n.purpose, n.published_at, min(newer.published_at) as superseded_at
    from {{ source('policy', 'notices') }} as n
    left join {{ source('policy', 'notices') }} as newer
        on n.notice_id = newer.notice_id
        and newer.renews_consent
        and newer.published_at > n.published_at
    group by n.notice_id, n.version, n.purpose, n.published_at
),

restrictions as (
    select
        seq, identifier_id, is_strong, scope_bit, channel,
        true as restricts,
        least(effective_at, {{ build_at }}) as effective_at,    -- a denial acts at once
        case when basis = 'opt_out' then 'opted_out' else coalesce(reason, 'denied') end as denial_reason,
        cast(null as varchar) as inadmissible_reason,
        timestamp 'infinity' as ends_at,
        cast(null as varchar) as end_reason,
        cast(null as varchar) as notice
    from covered
    -- withdrawing consent says nothing of a contract; only what names the purpose, or is presumed, does (R-23)
    where restricts and (basis <> 'contract' or purpose is not null or is_presumed)
),

consents as (
    select
        c.seq, c.identifier_id, c.is_strong, c.scope_bit, c.channel,
        false as restricts,
        c.effective_at,
        cast(null as varchar) as denial_reason,
        case
            when {{ is_minor('c', 'g') }} and not coalesce(c.is_guardian, false) then 'minor_without_guardian'
            when c.basis = 'none' then 'no_consent'
            when c.basis = 'contract' then 'no_contract'
            when c.is_explicit and not coalesce(m.is_explicit, false) then 'not_explicit'
            when (c.needs_separate or c.basis = 'separate_consent') and not coalesce(c.is_separate, false)
                then 'needs_separate_consent'
            when n.published_at is null or n.published_at > c.effective_at then 'notice_unknown'
            when n.superseded_at <= c.effective_at then 'notice_superseded'
            when c.valid_until <= c.effective_at then 'expired'
        end as inadmissible_reason,
        least(
            coalesce(c.valid_until, timestamp 'infinity'),
            coalesce(c.effective_at + to_days(c.max_consent_age_days::integer), timestamp 'infinity'),
            coalesce(n.superseded_at, timestamp 'infinity')
        ) as ends_at,
        case when n.superseded_at = ends_at then 'notice_superseded' else 'expired' end as end_reason,
        c.notice_id || '@' || c.notice_version as notice
    from covered as c
    cross join {{ source('policy', 'settings') }} as p
    left join {{ ref('int_groups_profiled') }} as g on c.group_id = g.group_id
    left join {{ source('policy', 'methods') }} as m on c.method = m.method
    left join notices as n
        on c.notice_id = n.notice_id and c.notice_version = n.version and c.scope_purpose = n.purpose
    where not c.restricts and c.effective_at <= {{ build_at }} and c.effective_at >= c.held_since
),

contracts as (
    select
        c.seq, i.identifier_id, i.is_strong, s.scope_bit,
        cast(null as varchar) as channel,
        false as restricts,
        c.effective_at,
        cast(null as varchar) as denial_reason,
        case
            when {{ is_minor('c', 'g') }} then 'minor_without_guardian'
            when c.valid_until <= c.effective_at then 'no_contract'
        end as inadmissible_reason,
        coalesce(c.valid_until, timestamp 'infinity') as ends_at,
        'no_contract' as end_reason,
        cast(null as varchar) as notice
    from {{ source('ledger', 'contracts') }} as c
    inner join identifiers as i on c.controller = i.controller and c.token = i.token
    inner join {{ source('policy', 'purpose_contract_facts') }} as f on c.fact = f.fact
    inner join {{ source('policy', 'scopes') }} as s on c.controller = s.controller and f.purpose = s.purpose
    cross join {{ source('policy', 'settings') }} as p
    left join {{ ref('int_groups_profiled') }} as g on i.group_id = g.group_id
    left join {{ ref('int_bases_resolved') }} as own on i.group_id = own.group_id and s.purpose = own.purpose
    left join {{ ref('int_bases_resolved') }} as fallback on fallback.group_id is null and s.purpose = fallback.purpose
    where
        coalesce(own.basis, fallback.basis) = 'contract'
        and c.effective_at <= {{ build_at }} and c.effective_at >= i.held_since
),

-- an opt-out regime permits until opted out, for those whose jurisdiction is on record; never what was collected
-- from them as minors, or before the purpose took the category in. Silence is no separate consent (R-14)
assumed as (
    select
        -i.identifier_id as seq, i.identifier_id, i.is_strong, s.scope_bit,    -- no ledger event: a negative number
        cast(null as varchar) as channel,
        false as restricts,
        greatest(
            coalesce(case when g.minor_until <= {{ build_at }} then g.minor_until end, timestamp '-infinity'),
            coalesce(s.since, timestamp '-infinity')
        ) as effective_at,
        cast(null as varchar) as denial_reason,
        case
            when {{ is_minor_at(build_at, 'g') }} then 'minor_without_guardian'
            when s.needs_separate then 'needs_separate_consent'
        end as inadmissible_reason,
        timestamp 'infinity' as ends_at,
        cast(null as varchar) as end_reason,
        cast(null as varchar) as notice
    from {{ ref('int_bases_resolved') }} as x
    inner join identifiers as i on x.group_id = i.group_id
    inner join {{ source('policy', 'scopes') }} as s on i.controller = s.controller and x.purpose = s.purpose
    cross join {{ source('policy', 'settings') }} as p
    left join {{ ref('int_groups_profiled') }} as g on x.group_id = g.group_id
    where x.basis = 'opt_out' and coalesce(s.since <= {{ build_at }}, true)
)

select * from restrictions
union all by name
select * from consents
union all by name
select * from contracts
union all by name
select * from assumed
