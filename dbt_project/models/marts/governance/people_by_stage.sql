-- How many people are at each stage of the relationship, and for how many of them that stage's consent holds now.
select
    s.controller,
    s.stage,
    cast(count(*) as bigint) as people,
    cast(count(*) filter (where s.is_open) as bigint) as people_open
from {{ ref('int_people_staged') }} as s
group by s.controller, s.stage
