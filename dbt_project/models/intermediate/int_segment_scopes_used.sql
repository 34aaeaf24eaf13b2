-- For each segment and person the scopes of what the segment saw of them, with the consent that admits each now. A contact
-- and a channel must hold for every one of them: nobody can say which of them made the person a member.
-- `is_contactable` is false where only a weak identifier's own grant admits: that never authorises a contact.
with used as (
    select distinct c.segment, c.purpose, c.controller, c.person_key, c.unit_id, s.scope_bit
    from {{ ref('int_segment_subjects_considered') }} as c
    inner join {{ source('policy', 'scopes') }} as s
        on c.controller = s.controller and c.purpose = s.purpose and c.category = s.category
    where c.reason is null
),

whole as (
    select person_key, scope_bit from {{ ref('int_permissions_now') }} where reason is null and not is_own
)

select
    u.segment,
    u.purpose,
    u.person_key,
    u.scope_bit,
    bool_and(w.person_key is not null) as is_contactable,
    arg_min(
        {'admitted_by': n.admitted_by, 'notice': n.notice, 'until': n.consent_until},
        {'until': n.consent_until, 'unit_id': n.unit_id}
    ) as consent
from used as u
inner join {{ ref('int_permissions_now') }} as n
    on u.unit_id = n.unit_id and u.scope_bit = n.scope_bit and n.reason is null
left join whole as w on u.person_key = w.person_key and u.scope_bit = w.scope_bit
group by u.segment, u.purpose, u.person_key, u.scope_bit
