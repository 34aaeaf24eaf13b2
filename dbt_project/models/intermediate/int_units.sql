-- One row for each timeline of consent: a person, or a weak identifier with grants of its own (`is_own`).
-- Unit 0 is nobody: what it carries is never permitted.
with named as (
    select distinct unit_id, person_key, controller, group_id, is_own_unit as is_own
    from {{ ref('int_identifiers_resolved') }}
    where person_key is not null
),

people as (
    -- a person all of whose identifiers are units of their own still is somebody
    select person_key, controller, min(group_id) as group_id
    from named
    group by person_key, controller
    having bool_and(is_own)
),

everyone as (
    select unit_id, person_key, controller, group_id, is_own from named
    union all
    select
        (select coalesce(max(unit_id), 0) from named) + row_number() over (order by person_key) as unit_id,
        person_key, controller, group_id, false as is_own
    from people
)

select
    e.unit_id,
    e.person_key,
    e.controller,
    e.group_id,
    e.is_own,
    g.status_reason,
    coalesce(g.is_suppressed, false) as is_suppressed,
    -- until when the person was a minor: always, where policy says so of those whose age is unknown
    coalesce(
        g.minor_until,
        case p.unknown_age when 'minor' then timestamp 'infinity' else timestamp '-infinity' end
    ) as minor_until
from everyone as e
cross join {{ source('policy', 'settings') }} as p
left join {{ ref('int_groups_profiled') }} as g on e.group_id = g.group_id
