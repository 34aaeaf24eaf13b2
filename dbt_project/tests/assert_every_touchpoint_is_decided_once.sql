-- For each purpose, permits and denials together are all touchpoints: nothing is lost and nothing counted twice.
-- That all that was read is masked is asserted beside this.
with touchpoints as (
    select count(*) as n from {{ ref('int_touchpoints_masked') }}
)

select d.purpose, sum(d.touchpoints) as decided
from {{ ref('decisions_by_purpose') }} as d
group by d.purpose
having sum(d.touchpoints) <> (select t.n from touchpoints as t)
