-- For each segment, what its people did in the lookback, by kind of circumstance: may it be used, and if not, why?
select
    g.segment,
    g.purpose,
    u.person_key,
    d.unit_id,
    d.controller,
    d.category,
    -- a segment that is not sensitive never sees a sensitive touchpoint, permitted or not
    case
        when d.reason is null and d.category = 'sensitive' and not g.reads_sensitive then 'category_not_allowed'
        else d.reason
    end as reason
from {{ ref('int_circumstances_decided') }} as d
inner join {{ source('policy', 'segments') }} as g
    on d.controller = g.controller
    and d.purpose = g.purpose
    -- the last of equal touchpoints speaks for all: if any is in the lookback, that one is
    and d.last_occurred_at >= {{ as_of() }} - to_days(g.lookback_days::integer)
inner join {{ ref('int_units') }} as u on d.unit_id = u.unit_id
