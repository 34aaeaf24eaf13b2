-- Touchpoints in equal circumstances share their decision: one row each, with how many there are and when the last was.
select
    controller, is_known_source, category, is_ambiguous, unit_id, mask_then, mask_kept, was_minor,
    count(*) as touchpoints,
    max(occurred_at) as last_occurred_at
from {{ ref('int_touchpoints_masked') }}
group by all
