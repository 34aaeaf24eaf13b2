-- The stage of each person: anonymous, or the latest for which a consent is on record. `is_open`: that consent holds now.
-- Withdrawing it closes the stage and moves nobody to an earlier one, where a "no" would add them to other segments.
-- What was granted before an identifier passed on says nothing of its present holder, but may be the word of somebody to
-- whom it was linked then: for those it counts, or a link to a stranger would move them to an earlier stage.
with granted as (
    select e.identifier_id, g.stage_order, true as is_holders
    from {{ ref('int_consent_events_admitted') }} as e
    inner join {{ source('identity', 'identifiers') }} as i on e.identifier_id = i.identifier_id
    inner join {{ source('policy', 'scopes') }} as s on e.scope_bit = s.scope_bit and i.controller = s.controller
    inner join {{ source('policy', 'stages') }} as g on s.purpose = g.purpose
    where not e.restricts and e.is_strong
    union all
    select i.identifier_id, g.stage_order, false as is_holders
    from {{ source('ledger', 'consent_events') }} as e
    inner join {{ source('policy', 'decisions') }} as d on e.decision = d.decision and not d.restricts
    inner join {{ source('identity', 'identifiers') }} as i on e.controller = i.controller and e.token = i.token
    inner join {{ source('policy', 'stages') }} as g on e.purpose = g.purpose
    where i.is_strong and e.effective_at < i.held_since
    union all
    select i.identifier_id, g.stage_order, false as is_holders
    from {{ source('ledger', 'contracts') }} as c
    inner join {{ source('identity', 'identifiers') }} as i on c.controller = i.controller and c.token = i.token
    inner join {{ source('policy', 'purpose_contract_facts') }} as f on c.fact = f.fact
    inner join {{ source('policy', 'stages') }} as g on f.purpose = g.purpose
    where i.is_strong and c.effective_at < i.held_since
),

reached as (
    select i.controller, r.group_id, max(e.stage_order) as stage_order
    from granted as e
    inner join {{ source('identity', 'identifiers') }} as i on e.identifier_id = i.identifier_id
    inner join {{ source('identity', 'denial_reach') }} as r on e.identifier_id = r.identifier_id
    where e.is_holders or r.group_id <> i.group_id
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
