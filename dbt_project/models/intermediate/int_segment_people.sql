-- Everybody with a touchpoint in a segment's lookback: a member, or the reason why not. Where a person's touchpoints
-- differ, the reason that came nearest to a permit speaks. No reason and no member: the segment's rule did not ask.
with seen as (
    select distinct
        g.segment, g.purpose, g.reads_sensitive, t.person_key,
        t.unit_id, t.source, t.controller, t.category, t.event_category, t.is_ambiguous, t.mask_then, t.mask_kept
    from {{ ref('int_touchpoints_masked') }} as t
    inner join {{ source('policy', 'segments') }} as g
        on t.controller = g.controller and t.occurred_at >= {{ as_of() }} - to_days(g.lookback_days::integer)
    where t.person_key is not null
),

considered as (
    select
        s.segment,
        s.purpose,
        s.person_key,
        -- a segment that is not sensitive never sees a sensitive touchpoint, permitted or not
        case
            when d.reason is null and s.category = 'sensitive' and not s.reads_sensitive then 'category_not_allowed'
            else d.reason
        end as reason
    from seen as s
    inner join {{ ref('int_circumstances_decided') }} as d
        on s.source = d.source and s.controller = d.controller and s.unit_id = d.unit_id and s.purpose = d.purpose
        and s.category is not distinct from d.category and s.event_category is not distinct from d.event_category
        and s.is_ambiguous = d.is_ambiguous and s.mask_then = d.mask_then and s.mask_kept = d.mask_kept
),

decided as (
    select
        c.segment,
        c.purpose,
        c.person_key,
        max_by(c.reason, r.reason_order) as reason,
        bool_or(c.reason is null) as is_permitted
    from considered as c
    left join {{ source('policy', 'reasons') }} as r on c.reason = r.reason
    group by c.segment, c.purpose, c.person_key
),

members as (
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
    end as reason,
    m.admitted_by,
    m.notice,
    m.consent_until
from decided as d
inner join {{ source('policy', 'segments') }} as g on d.segment = g.segment
inner join {{ ref('int_audience_keys') }} as k on d.person_key = k.person_key and d.purpose = k.purpose
left join members as m on d.segment = m.segment and k.audience_key = m.audience_key
left join {{ ref('int_absences_proved') }} as f on d.segment = f.segment and d.person_key = f.person_key
