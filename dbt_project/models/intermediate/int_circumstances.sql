-- Touchpoints in equal circumstances share their decision: one row each, with how many there are.
select
    source, controller, is_known_source, event_category, category, is_ambiguous, unit_id, mask_then, mask_kept, was_minor,
    count(*) as touchpoints
from {{ ref('int_touchpoints_masked') }}
group by all
