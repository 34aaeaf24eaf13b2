{{ config(materialized='view') }}
-- Contact points in the vault whose people no scope permits to process, and since when: since their last permission
-- ended, or since the person was last heard of (R-103). `since` is null where nothing at T knows the contact point.
with heard as (
    select token_a as token, effective_at from {{ source('identity', 'links') }}
    union all
    select token_b as token, effective_at from {{ source('identity', 'links') }}
    union all
    select token, effective_at from {{ source('ledger', 'consent_events') }}
    union all
    select i.token, max(t.occurred_at) as effective_at
    from {{ ref('int_touchpoints_masked') }} as t
    inner join {{ ref('int_identifiers_resolved') }} as i on t.identifier_id = i.identifier_id
    group by i.token
),

last_heard as (
    select token, max(effective_at) as heard_at
    from heard
    where effective_at <= {{ as_of() }}
    group by token
),

permitted as (
    select controller, person_key, unit_id from {{ ref('int_permissions_now') }} where reason is null
),

-- by the person, or by the unit alone: two joins, for one with `or` compares everybody with everybody
supported as (
    select i.token
    from {{ ref('int_identifiers_resolved') }} as i
    inner join permitted as p on i.controller = p.controller and i.person_key = p.person_key
    union
    select i.token
    from {{ ref('int_identifiers_resolved') }} as i
    inner join permitted as p on i.controller = p.controller and i.unit_id = p.unit_id
),

facts as (
    select i.token, max(e.ended_at) as ended_at, min(h.held_by) as held_by
    from {{ ref('int_identifiers_resolved') }} as i
    left join {{ ref('int_permissions_ended') }} as e on i.unit_id = e.unit_id
    left join {{ ref('int_people_held') }} as h on i.identifier_id = h.identifier_id
    group by i.token
)

select v.token, v.kind, v.issuer, greatest(l.heard_at, f.ended_at) as since, f.held_by
from {{ source('activity', 'contact_points') }} as v
left join supported as s on v.token = s.token
left join last_heard as l on v.token = l.token
left join facts as f on v.token = f.token
where s.token is null
