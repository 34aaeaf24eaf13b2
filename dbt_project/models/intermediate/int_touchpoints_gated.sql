-- The gate: the only way by which touchpoints reach a mart. What no scope permits is not here.
select
    touchpoint_key, source, controller, identifier_id, unit_id, person_key, occurred_at, event, category,
    item, store, account, city, tier, amount, birth_month, permitted_mask
from {{ ref('int_touchpoints_masked') }}
where permitted_mask <> 0 and is_known_source and person_key is not null
