-- The same state as bit masks, one bit a scope: at each change, which of the scopes in force now permitted then. Scopes
-- that are not in force now permit nothing, whatever they did then. Coming of age is a change too, so that an interval
-- lies wholly before or after it.
with in_force as (
    select i.unit_id, i.scope_bit
    from {{ ref('int_consent_intervals') }} as i
    inner join {{ ref('int_units') }} as u on i.unit_id = u.unit_id
    where u.status_reason is null and i.reason is null and i.t0 <= {{ as_of() }} and {{ as_of() }} < i.t1
),

permitted as (
    select i.unit_id, i.t0, i.t1, s.scope_mask
    from {{ ref('int_consent_intervals') }} as i
    inner join in_force as f on i.unit_id = f.unit_id and i.scope_bit = f.scope_bit
    inner join {{ source('policy', 'scopes') }} as s on i.scope_bit = s.scope_bit
    where i.t0 <= {{ as_of() }} and i.reason is null
),

changes as (
    select unit_id, t0 as changed_at, scope_mask as change, false as is_kept from permitted
    union all
    select unit_id, t1 as changed_at, -scope_mask as change, false as is_kept from permitted where t1 <= {{ as_of() }}
    union all
    select unit_id, timestamp '-infinity' as changed_at, 0 as change, true as is_kept from {{ ref('int_units') }}
    union all
    select unit_id, minor_until as changed_at, 0 as change, true as is_kept
    from {{ ref('int_units') }} where isfinite(minor_until)
    union all
    select 0 as unit_id, timestamp '-infinity' as changed_at, 0 as change, true as is_kept
),

summed as (
    select unit_id, changed_at, sum(change) as change
    from changes
    group by unit_id, changed_at
    having sum(change) <> 0 or bool_or(is_kept)
),

running as (
    select
        unit_id,
        changed_at as t0,
        lead(changed_at, 1, timestamp 'infinity') over by_time as t1,
        cast(sum(change) over by_time as bigint) as mask_then
    from summed
    window by_time as (partition by unit_id order by changed_at)
)

select r.unit_id, r.t0, r.t1, r.mask_then, coalesce(r.t0 < u.minor_until, false) as is_minor
from running as r
left join {{ ref('int_units') }} as u on r.unit_id = u.unit_id
