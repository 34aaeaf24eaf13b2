-- Every touchpoint with the two masks that decide it: the scopes in force now that were in force when it was collected,
-- and those that its category and age may serve.
select
    t.*,
    l.mask_then,
    l.is_minor as was_minor,
    coalesce(k.mask_kept, 0) as mask_kept,
    l.mask_then & coalesce(k.mask_kept, 0) as permitted_mask
from {{ ref('int_touchpoints_classified') }} as t
inner join {{ ref('int_timelines') }} as l
    on t.unit_id = l.unit_id and l.t0 <= t.occurred_at and t.occurred_at < l.t1
left join {{ ref('int_masks_kept') }} as k
    on t.controller = k.controller
    and t.category = k.category
    and k.kept_from <= t.occurred_at
    and t.occurred_at < k.kept_to
