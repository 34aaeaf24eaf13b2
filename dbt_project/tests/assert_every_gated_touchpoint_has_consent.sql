-- What passed the gate names the decision that admitted it when it was collected and the one that admits it now, by the
-- intervals themselves rather than by their masks.
with gated as (
    select touchpoint_key, purpose from {{ ref('int_touchpoints_gated_by_purpose') }}
),

admitted as (
    select touchpoint_key, purpose, count(*) as decisions from {{ ref('int_touchpoints_admitted') }} group by all
)

select g.purpose, count(*) as touchpoints
from gated as g
left join admitted as a on g.touchpoint_key = a.touchpoint_key and g.purpose = a.purpose
where a.decisions is distinct from 1
group by g.purpose
