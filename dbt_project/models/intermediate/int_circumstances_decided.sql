-- The decision for each kind of circumstance and purpose: permit (no reason) or exactly one reason, the first rule
-- that fails in the order of design §4.
with scoped as (
    select
        c.*,
        a.purpose,
        a.is_known as is_known_purpose,
        s.scope_bit,
        s.scope_mask,
        u.status_reason,
        f.purpose is not null as is_allowed_elsewhere
    from {{ ref('int_circumstances') }} as c
    cross join {{ ref('int_purposes_asked') }} as a
    left join {{ source('policy', 'scopes') }} as s
        on c.controller = s.controller and c.category = s.category and a.purpose = s.purpose
    left join (select distinct purpose, category from {{ source('policy', 'scopes') }}) as f
        on a.purpose = f.purpose and c.category = f.category
    left join {{ ref('int_units') }} as u on c.unit_id = u.unit_id
),

considered as (
    select
        s.*,
        n.unit_id is not null and n.reason is null as is_permitted_now,
        coalesce(n.reason, 'no_consent') as reason_now
    from scoped as s
    left join {{ ref('int_permissions_now') }} as n on s.unit_id = n.unit_id and s.scope_bit = n.scope_bit
),

bases as (
    select purpose, basis from {{ ref('int_bases_resolved') }} where group_id is null
)

select
    s.controller, s.is_known_source, s.category, s.is_ambiguous, s.unit_id, s.mask_then, s.mask_kept, s.was_minor,
    s.touchpoints, s.last_occurred_at, s.purpose,
    case
        when not s.is_known_source then 'unknown_source'
        when not s.is_known_purpose then 'unknown_purpose'
        when s.category is null or not s.is_allowed_elsewhere then 'category_not_allowed'
        when s.is_ambiguous then 'ambiguous_identity'
        when s.unit_id = 0 then 'unresolved_identity'
        when s.status_reason is not null then s.status_reason
        when s.scope_bit is null then 'controller_mismatch'
        when not s.is_permitted_now and s.reason_now = 'no_consent' and m.purpose is not null then 'controller_mismatch'
        when not s.is_permitted_now and s.reason_now = 'no_consent' and b.basis = 'contract' then 'no_contract'
        when not s.is_permitted_now then s.reason_now
        when s.mask_then & s.scope_mask = 0 and s.was_minor then 'minor_without_guardian'
        when s.mask_then & s.scope_mask = 0 then 'before_consent'
        when s.mask_kept & s.scope_mask = 0 then 'past_retention'
    end as reason
from considered as s
left join {{ ref('int_mismatches') }} as m on s.unit_id = m.unit_id and s.purpose = m.purpose
left join bases as b on s.purpose = b.purpose
