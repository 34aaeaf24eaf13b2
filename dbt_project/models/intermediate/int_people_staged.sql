-- The stage of each person: anonymous, or the latest for which a consent is on record. `is_open`: that consent holds now.
-- Withdrawing it closes the stage and moves nobody to an earlier one, where a "no" would add them to other segments.
with reached as (
    select i.controller, r.group_id, max(g.stage_order) as stage_order
    from {{ ref('int_consent_events_admitted') }} as e
    inner join {{ source('identity', 'identifiers') }} as i on e.identifier_id = i.identifier_id
    inner join {{ source('identity', 'denial_reach') }} as r on e.identifier_id = r.identifier_id
    inner join {{ source('policy', 'scopes') }} as s on e.scope_bit = s.scope_bit and i.controller = s.controller
    inner join {{ source('policy', 'stages') }} as g on s.purpose = g.purpose
    where not e.restricts and e.is_strong
    group by i.controller, r.group_id
),

people as (
    select i.person_key, i.controller, max(r.stage_order) as stage_order, bool_or(i.is_strong) as is_known
    from {{ ref('int_identifiers_resolved') }} as i
    left join reached as r on i.group_id = r.group_id and i.controller = r.controller
    where i.person_key is not null
    group by i.person_key, i.controller
)

select
    p.person_key,
    p.controller,
    g.stage,
    g.purpose is null or c.person_key is not null as is_open
from people as p
left join {{ ref('int_people_whole') }} as w on p.person_key = w.person_key
inner join {{ source('policy', 'stages') }} as g
    on g.stage_order = coalesce(p.stage_order, case when not p.is_known and w.person_key is not null then 1 end)
left join (
    select distinct person_key, controller, purpose from {{ ref('int_people_permitted') }} where is_contactable
) as c on p.person_key = c.person_key and p.controller = c.controller and g.purpose = c.purpose
