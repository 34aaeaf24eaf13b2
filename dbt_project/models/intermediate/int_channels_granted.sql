-- On which channels a person's consents in force to a scope may be used: null is every channel. A restriction of one channel
-- closes that channel until a later grant opens it.
with grants as (
    select u.unit_id, u.person_key, u.controller, e.scope_bit, e.channel, e.effective_at
    from {{ ref('int_consent_events_admitted') }} as e
    inner join {{ ref('int_grantors') }} as g on e.identifier_id = g.identifier_id
    inner join {{ ref('int_units') }} as u on g.unit_id = u.unit_id
    where not e.restricts and not u.is_own and e.inadmissible_reason is null and e.ends_at > {{ as_of() }}
),

denials as (
    select u.unit_id, e.scope_bit, e.channel, max(e.effective_at) as effective_at
    from {{ ref('int_consent_events_admitted') }} as e
    inner join {{ source('identity', 'denial_reach') }} as r on e.identifier_id = r.identifier_id
    inner join {{ ref('int_units') }} as u on r.group_id = u.group_id
    where e.restricts and not u.is_own
    group by u.unit_id, e.scope_bit, e.channel
)

select
    g.person_key,
    g.scope_bit,
    c.channel,
    bool_or(off.effective_at is null or off.effective_at < g.effective_at) as is_open
from grants as g
inner join {{ source('policy', 'scopes') }} as s on g.scope_bit = s.scope_bit and g.controller = s.controller
inner join {{ source('policy', 'purpose_channels') }} as c
    on s.purpose = c.purpose and (g.channel is null or g.channel = c.channel)
left join denials as whole
    on g.unit_id = whole.unit_id and g.scope_bit = whole.scope_bit and whole.channel is null
left join denials as off
    on g.unit_id = off.unit_id and g.scope_bit = off.scope_bit and off.channel = c.channel
where whole.effective_at is null or whole.effective_at < g.effective_at
group by g.person_key, g.scope_bit, c.channel
