-- Of each source's touchpoints: how many are somebody's, and how many any purpose may use.
select
    source,
    controller,
    cast(count(*) as bigint) as touchpoints,
    cast(count(*) filter (where person_key is not null) as bigint) as with_person,
    cast(count(*) filter (where permitted_mask <> 0) as bigint) as permitted_any
from {{ ref('int_touchpoints_masked') }}
group by source, controller
