-- Everybody with a touchpoint in a segment's lookback: may any of their touchpoints be used, and if not, why? Where they
-- differ, the reason that came nearest to a permit speaks. `is_hidden`: something of theirs is kept from the segment,
-- beside what policy keeps from everybody's.
select
    c.segment,
    c.purpose,
    c.person_key,
    max_by(c.reason, r.reason_order) as reason,
    bool_or(c.reason is null) as is_permitted,
    bool_or(c.reason not in ('unknown_source', 'unknown_purpose', 'category_not_allowed')) as is_hidden
from {{ ref('int_segment_subjects_considered') }} as c
left join {{ source('policy', 'reasons') }} as r on c.reason = r.reason
group by c.segment, c.purpose, c.person_key
