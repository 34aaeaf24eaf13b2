-- The fast gate and the decision with its reason are two ways to the same answer.
with gated as (
    select purpose, count(*) as touchpoints from {{ ref('int_touchpoints_gated_by_purpose') }} group by purpose
),

decided as (
    select purpose, touchpoints from {{ ref('decisions_by_purpose') }} where reason = 'permit'
)

select coalesce(g.purpose, d.purpose) as purpose, g.touchpoints as gated, d.touchpoints as decided
from gated as g
full outer join decided as d on g.purpose = d.purpose
where g.touchpoints is distinct from d.touchpoints
