-- Every touchpoint, whose it is, and the two masks that decide it: the scopes in force now that were in force when it was
-- collected, and those that its category and age may serve. What nobody's identifier names is of unit 0: nobody's.
select
    t.* exclude (subject_token),
    l.identifier_id,
    l.person_key,
    coalesce(l.is_ambiguous, false) as is_ambiguous,
    coalesce(l.unit_id, 0) as unit_id,
    coalesce(l.mask_then, 0) as mask_then,
    coalesce(l.is_minor, false) as was_minor,
    coalesce(k.mask_kept, 0) as mask_kept,
    coalesce(l.mask_then & k.mask_kept, 0) as permitted_mask
from {{ ref('int_touchpoints_classified') }} as t
left join {{ ref('int_timelines_by_identifier') }} as l
    on t.controller = l.controller
    and t.subject_token = l.token
    and l.t0 <= t.occurred_at and t.occurred_at < l.t1
left join {{ ref('int_masks_kept') }} as k
    on t.controller = k.controller
    and t.category = k.category
    and k.kept_from <= t.occurred_at
    and t.occurred_at < k.kept_to
