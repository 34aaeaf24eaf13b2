-- The waterfall's last step before export is the mart itself.
with marts as (
    {% for name in var('segments') %}
    select '{{ name }}' as segment, count(*) as people from {{ ref(name) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

counted as (
    select segment, count(*) filter (where is_member) as people from {{ ref('int_segment_people') }} group by segment
)

select m.segment, m.people, c.people as counted
from marts as m
left join counted as c on m.segment = c.segment
where m.people <> coalesce(c.people, 0)
