-- Everybody with a touchpoint in a segment's lookback: a member, or the reason why not. No reason and no member: the
-- segment's rule did not ask.
with members as (
    {% for name in var('segments') %}
    select '{{ name }}' as segment, audience_key, admitted_by, notice, consent_until from {{ ref(name) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    d.segment,
    d.purpose,
    d.person_key,
    k.audience_key,
    d.is_permitted,
    m.audience_key is not null as is_member,
    case
        when m.audience_key is not null then null
        when not d.is_permitted then d.reason
        when g.absent_source is not null and f.person_key is null then 'absence_unproved'
        when e.segment is not null and x.person_key is null then 'absence_unproved'
    end as reason,
    m.admitted_by,
    m.notice,
    m.consent_until
from {{ ref('int_segment_people_considered') }} as d
inner join {{ source('policy', 'segments') }} as g on d.segment = g.segment
inner join {{ ref('int_audience_keys') }} as k on d.person_key = k.person_key and d.purpose = k.purpose
left join members as m on d.segment = m.segment and k.audience_key = m.audience_key
left join {{ ref('int_absences_proved') }} as f on d.segment = f.segment and d.person_key = f.person_key
left join (select distinct segment from {{ source('policy', 'segment_excludes') }}) as e on d.segment = e.segment
left join {{ ref('int_exclusions_proved') }} as x on d.segment = x.segment and d.person_key = x.person_key
