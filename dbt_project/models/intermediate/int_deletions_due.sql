{{ config(materialized='view') }}
-- Every touchpoint that no scope permits, why, and from when it is to be deleted. What was never permitted waits for a
-- consent that is late (R-09); what was permitted once, for policy's days after that ended (R-103).
with kept as (
    select controller, category, max(retention_days) as retention_days
    from {{ source('policy', 'scopes') }}
    group by controller, category
)

select
    t.touchpoint_key,
    t.source,
    t.category,
    t.occurred_at,
    case
        when t.occurred_at < {{ as_of() }} - to_days(k.retention_days::integer) then 'past_retention'
        when e.ended_at is null then 'never_permitted'
        else 'no_longer_permitted'
    end as reason,
    case
        when t.occurred_at < {{ as_of() }} - to_days(k.retention_days::integer)
            then t.occurred_at + to_days(k.retention_days::integer)
        else greatest(
            t.occurred_at + to_days(s.late_consent_window_days::integer), e.ended_at + to_days(s.withdrawn_days::integer)
        )
    end as due_at,
    h.held_by
from {{ ref('int_touchpoints_masked') }} as t
cross join {{ source('policy', 'settings') }} as s
left join kept as k on t.controller = k.controller and t.category = k.category
left join {{ ref('int_permissions_ended') }} as e on t.unit_id = e.unit_id
left join {{ ref('int_people_held') }} as h on t.identifier_id = h.identifier_id
where t.permitted_mask = 0
