{{ config(materialized='view') }}
-- The decision for each touchpoint and purpose, computed on demand.
select t.touchpoint_key, t.source, t.controller, t.identifier_id, t.person_key, t.occurred_at, d.purpose, d.reason
from {{ ref('int_touchpoints_masked') }} as t
inner join {{ ref('int_circumstances_decided') }} as d
    on t.controller = d.controller
    and t.is_known_source = d.is_known_source
    and t.unit_id = d.unit_id
    and t.category is not distinct from d.category
    and t.is_ambiguous = d.is_ambiguous
    and t.mask_then = d.mask_then
    and t.mask_kept = d.mask_kept
    and t.was_minor = d.was_minor
