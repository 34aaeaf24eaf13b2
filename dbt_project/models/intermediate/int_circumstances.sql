-- Touchpoints in equal circumstances share their decision: one row each, with how many there are and when the last was.
select
    source, controller, is_known_source, event_category, category, is_ambiguous, unit_id, mask_then, mask_kept, was_minor,
    count(*) as touchpoints,
    max(occurred_at) as last_occurred_at
from {{ ref('int_touchpoints_masked') }}
group by all
