-- The contact points of each person: identifiers whose plain value the vault holds, with what the platform last said.
-- Each adviser of WeCom is added and removed alone; whoever removed them all is closed. Leave to send one template
-- (`tpl:`) opens and closes nothing else.
with told as (
    select
        controller, token, channel, fact,
        arg_max(state, {'effective_at': effective_at, 'closed': state = 'closed', 'seq': seq}) as state,
        max(effective_at) filter (where state = 'open') as opened_at
    from {{ source('ledger', 'permissions') }}
    where (effective_at <= {{ as_of() }} or state = 'closed') and (fact is null or fact like 'adv:%')
    group by controller, token, channel, fact
),

platform as (
    select
        controller, token, channel,
        coalesce(
            any_value(state) filter (where fact is null), case when bool_or(state = 'open') then 'open' else 'closed' end
        ) as state,
        max(opened_at) as opened_at
    from told
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
