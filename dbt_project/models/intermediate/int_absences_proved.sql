-- For segments that select by what people did not do: those whose data of that kind was permitted and complete for
-- the whole lookback, so that nothing hidden makes them look inactive.
with asked as (
    select
        g.segment, g.controller, g.absent_source, g.absent_lookback_days, s.scope_mask,
        {{ as_of() }} - to_days(g.absent_lookback_days::integer) as since
    from {{ source('policy', 'segments') }} as g
    inner join {{ source('policy', 'scopes') }} as s
        on g.controller = s.controller
        and g.purpose = s.purpose
        and g.absent_category = s.category
        and g.absent_lookback_days <= s.retention_days    -- what may no longer be used hides as well
    where g.absent_source is not null
),

complete as (
    select a.segment
    from asked as a
    inner join {{ source('lake', 'completeness') }} as c
        on a.absent_source = c.source
        and c.day >= {{ local_day('a.since') }}
        and c.day < {{ local_day(as_of()) }}
    group by a.segment, a.since
    having count(distinct c.day) >= date_diff('day', {{ local_day('a.since') }}, {{ local_day(as_of()) }})
)

select a.segment, u.person_key
from asked as a
inner join complete as c on a.segment = c.segment
inner join {{ ref('int_units') }} as u on a.controller = u.controller and not u.is_own
inner join {{ ref('int_people_whole') }} as w on u.person_key = w.person_key
inner join {{ ref('int_timelines') }} as l on u.unit_id = l.unit_id and l.t0 <= {{ as_of() }} and l.t1 > a.since
group by a.segment, u.person_key
having bool_and(l.mask_then & a.scope_mask <> 0)
