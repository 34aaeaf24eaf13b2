-- The contact points of each person: identifiers whose plain value the vault holds, with what the platform last said.
with platform as (
    select
        controller, token, channel,
        arg_max(state, {'effective_at': effective_at, 'closed': state = 'closed', 'seq': seq}) as state,
        max(effective_at) filter (where state = 'open') as opened_at
    from {{ source('ledger', 'permissions') }}
    where effective_at <= {{ as_of() }} or state = 'closed'
    group by controller, token, channel
)

select
    i.person_key, i.controller, i.token, i.kind, i.issuer, c.channel,
    -- what a former holder of the identifier opened is not open for the present one
    p.state = 'open' and coalesce(p.opened_at >= i.held_since, true) as is_open,
    p.state = 'closed' as is_closed
from {{ ref('int_identifiers_resolved') }} as i
inner join {{ source('activity', 'contact_points') }} as v on i.token = v.token
inner join {{ source('policy', 'identifier_channels') }} as c on i.kind = c.kind
left join platform as p on i.controller = p.controller and i.token = p.token and c.channel = p.channel
where i.person_key is not null
