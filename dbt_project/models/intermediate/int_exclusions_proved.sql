-- For segments that leave out the people of another: those of whom nothing hidden could put them there. Whoever withdraws
-- must not gain a place by no longer being seen in the other segment.
with excluded as (
    select e.segment, e.excluded, g.absent_source is not null as is_of_absence
    from {{ source('policy', 'segment_excludes') }} as e
    inner join {{ source('policy', 'segments') }} as g on e.excluded = g.segment
),

doubtful as (
    select e.segment, c.person_key
    from excluded as e
    inner join {{ ref('int_segment_people_considered') }} as c on e.excluded = c.segment
    left join {{ ref('int_absences_proved') }} as f on c.segment = f.segment and c.person_key = f.person_key
    where c.is_hidden or (e.is_of_absence and f.person_key is null)
)

select s.segment, w.person_key
from (select distinct segment from excluded) as s
cross join {{ ref('int_people_whole') }} as w
left join doubtful as d on s.segment = d.segment and w.person_key = d.person_key
where d.person_key is null
