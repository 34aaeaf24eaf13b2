-- For each segment, what its people did in the lookback, by kind of circumstance: may it be used, and if not, why?
with seen as (
    select distinct
        g.segment, g.purpose, g.reads_sensitive, t.person_key,
        t.unit_id, t.source, t.controller, t.category, t.event_category, t.is_ambiguous, t.mask_then, t.mask_kept,
        t.was_minor
    from {{ ref('int_touchpoints_masked') }} as t
    inner join {{ source('policy', 'segments') }} as g
        on t.controller = g.controller and t.occurred_at >= {{ as_of() }} - to_days(g.lookback_days::integer)
    where t.person_key is not null
)

select
    s.segment,
    s.purpose,
    s.person_key,
    s.unit_id,
    s.controller,
    s.category,
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
    and s.was_minor = d.was_minor
