-- What passed the gate was permitted when it was collected and is permitted now, by the intervals themselves rather
-- than by their masks.
with gated as (
    select g.touchpoint_key, g.purpose, g.unit_id, g.scope_bit, g.occurred_at
    from {{ ref('int_touchpoints_gated_by_purpose') }} as g
),

admitted as (
    select
        g.touchpoint_key,
        g.purpose,
        count(*) filter (where i.t0 <= g.occurred_at and g.occurred_at < i.t1) as held_then,
        count(*) filter (where i.t0 <= {{ as_of() }} and {{ as_of() }} < i.t1) as holds_now
    from gated as g
    left join {{ ref('int_consent_intervals') }} as i
        on g.unit_id = i.unit_id and g.scope_bit = i.scope_bit and i.reason is null
    group by g.touchpoint_key, g.purpose
)

select purpose, count(*) as touchpoints from admitted where held_then <> 1 or holds_now <> 1 group by purpose
