-- The same state as bit masks: at each change, the scopes that permitted then. One bit is one scope. Coming of age is
-- a change too, so that an interval lies wholly before or after it.
with permitted as (
    select i.unit_id, i.t0, i.t1, s.scope_mask
    from {{ ref('int_consent_intervals') }} as i
    inner join {{ source('policy', 'scopes') }} as s on i.scope_bit = s.scope_bit
    inner join {{ ref('int_units') }} as u on i.unit_id = u.unit_id
    where i.reason is null and u.status_reason is null
),

changes as (
    select unit_id, t0 as changed_at, scope_mask as change from permitted
    union all
    select unit_id, t1 as changed_at, -scope_mask as change from permitted where t1 < timestamp 'infinity'
    union all
    select unit_id, timestamp '-infinity' as changed_at, 0 as change from {{ ref('int_units') }}
    union all
    select unit_id, minor_until as changed_at, 0 as change from {{ ref('int_units') }} where isfinite(minor_until)
    union all
    select 0 as unit_id, timestamp '-infinity' as changed_at, 0 as change
),

summed as (
    select c.unit_id, c.changed_at, sum(c.change) as change
    from changes as c
    left join {{ ref('int_units') }} as u on c.unit_id = u.unit_id and c.changed_at = u.minor_until
    group by c.unit_id, c.changed_at
    having sum(c.change) <> 0 or c.changed_at = timestamp '-infinity' or bool_or(u.unit_id is not null)
),

running as (
    select
        unit_id,
        changed_at as t0,
        lead(changed_at, 1, timestamp 'infinity') over by_time as t1,
        cast(sum(change) over by_time as bigint) as mask_then
    from summed
    window by_time as (partition by unit_id order by changed_at)
),

in_force as (
    select unit_id, mask_then as mask_now from running where t0 <= {{ as_of() }} and {{ as_of() }} < t1
)

select r.unit_id, r.t0, r.t1, r.mask_then, f.mask_now, coalesce(r.t0 < u.minor_until, false) as is_minor
from running as r
inner join in_force as f on r.unit_id = f.unit_id
left join {{ ref('int_units') }} as u on r.unit_id = u.unit_id
