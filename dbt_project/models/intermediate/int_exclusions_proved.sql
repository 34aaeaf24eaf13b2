-- For segments that leave out the people of another: those of whom nothing hidden could put them there. Whoever withdraws
-- must not gain a place by no longer being seen in the other segment, nor when what they hid has been deleted.
with excluded as (
    select
        e.segment, e.excluded, g.controller, g.purpose, g.absent_source is not null as is_of_absence,
        {{ as_of() }} - to_days(g.lookback_days::integer) as since
    from {{ source('policy', 'segment_excludes') }} as e
    inner join {{ source('policy', 'segments') }} as g on e.excluded = g.segment
),

-- what the other segment rests on: its purpose, and the stages whose columns it reads
purposes as (
    select segment, controller, purpose, since from excluded
    union
    select e.segment, e.controller, g.purpose, e.since
    from excluded as e
    inner join {{ source('policy', 'segment_stages') }} as s on e.excluded = s.segment
    inner join {{ source('policy', 'stages') }} as g on s.stage = g.stage and g.purpose is not null
),

refused as (
    select distinct p.segment, u.person_key
    from purposes as p
    inner join {{ source('policy', 'scopes') }} as s on p.controller = s.controller and p.purpose = s.purpose
    inner join {{ ref('int_consent_intervals') }} as i
        on s.scope_bit = i.scope_bit and i.t0 <= {{ as_of() }} and i.t1 > p.since
    inner join {{ ref('int_units') }} as u on i.unit_id = u.unit_id and p.controller = u.controller
    where i.reason in (select d.reason from {{ source('policy', 'decisions') }} as d)
),

doubtful as (
    select e.segment, c.person_key
    from excluded as e
    inner join {{ ref('int_segment_people_considered') }} as c on e.excluded = c.segment
    left join {{ ref('int_absences_proved') }} as f on c.segment = f.segment and c.person_key = f.person_key
    where c.is_hidden or (e.is_of_absence and f.person_key is null)
    union
    select r.segment, r.person_key from refused as r
)

select s.segment, w.person_key
from (select distinct segment from excluded) as s
cross join {{ ref('int_people_whole') }} as w
left join doubtful as d on s.segment = d.segment and w.person_key = d.person_key
where d.person_key is null
