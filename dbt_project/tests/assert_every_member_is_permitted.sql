-- Every row of every segment names a person who is permitted for the segment's purpose at T.
with members as (
    {% for name, s in var('segments').items() %}
    select '{{ name }}' as segment, '{{ s.purpose }}' as purpose, audience_key, admitted_by from {{ ref(name) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

permitted as (
    select distinct k.audience_key, k.purpose, p.admitted_by
    from {{ ref('int_permissions_now') }} as p
    inner join {{ ref('int_audience_keys') }} as k on p.person_key = k.person_key and p.purpose = k.purpose
    where p.reason is null
)

select m.segment, count(*) as people
from members as m
left join permitted as p
    on m.audience_key = p.audience_key and m.purpose = p.purpose and m.admitted_by is not distinct from p.admitted_by
where p.audience_key is null
group by m.segment
