-- From everybody to the exported: what is left after each step, and how many people each reason took.
with shared as (
    -- nobody's, but each stands for somebody
    select g.segment, count(distinct t.identifier_id) as subjects
    from {{ ref('int_touchpoints_masked') }} as t
    inner join {{ source('policy', 'segments') }} as g
        on t.controller = g.controller and t.occurred_at >= {{ as_of() }} - to_days(g.lookback_days::integer)
    where t.person_key is null and t.identifier_id is not null
    group by g.segment
),

persons as (
    select segment, count(*) as known
    from {{ ref('int_segment_people_considered') }}
    group by segment
),

subjects as (
    select g.segment, coalesce(p.known, 0) as known, coalesce(p.known, 0) + coalesce(s.subjects, 0) as everybody
    from {{ source('policy', 'segments') }} as g
    left join persons as p on g.segment = p.segment
    left join shared as s on g.segment = s.segment
),

people as (
    select * from {{ ref('int_segment_people') }}
),

steps as (
    select segment, 1 as step_order, 'all' as step, null as destination, null as reason, everybody as people from subjects
    union all
    select segment, 2, 'known', null, 'ambiguous_identity', everybody - known from subjects where everybody > known
    union all
    select segment, 2, 'known', null, null, known from subjects
    union all
    select segment, 3, 'permitted', null, reason, count(*) from people where not is_permitted group by segment, reason
    union all
    select segment, 3, 'permitted', null, null, count(*) from people where is_permitted group by segment
    union all
    select segment, 4, 'in_segment', null, coalesce(reason, 'not_selected'), count(*)
    from people where is_permitted and not is_member group by segment, coalesce(reason, 'not_selected')
    union all
    select segment, 4, 'in_segment', null, null, count(*) from people where is_member group by segment
    union all
    select segment, 5, 'exportable', destination, reason, count(*)
    from {{ ref('int_activations_decided') }} group by segment, destination, reason
)

select
    segment,
    cast(step_order as bigint) as step_order,
    step,
    cast(destination as varchar) as destination,
    cast(reason as varchar) as reason,
    cast(people as bigint) as people
from steps
