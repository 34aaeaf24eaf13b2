{{ config(materialized='view') }}
-- The gate as segments read it: a touchpoint for each purpose that it may serve, and the consent that admits it.
select
    t.touchpoint_key, t.source, t.controller, t.person_key, t.unit_id, t.occurred_at, t.event, t.category,
    t.item, t.store, t.account, t.city, t.tier, t.amount, t.birth_month,
    s.purpose, s.recipient, s.scope_bit
from {{ ref('int_touchpoints_gated') }} as t
inner join {{ source('policy', 'scopes') }} as s
    on t.controller = s.controller and t.category = s.category and (t.permitted_mask & s.scope_mask) <> 0
