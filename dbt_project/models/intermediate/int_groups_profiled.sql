-- What is on record about the people behind a group of identifiers, whoever of them said it: age, and the state of
-- erasure, restriction and legal hold. The strictest wins.
with reached as (
    select i.controller, i.token, r.group_id
    from {{ source('identity', 'denial_reach') }} as r
    inner join {{ source('identity', 'identifiers') }} as i on r.identifier_id = i.identifier_id
),

ages as (
    select r.group_id, max(a.minor_until) as minor_until
    from {{ source('ledger', 'ages') }} as a
    inner join reached as r on a.controller = r.controller and a.token = r.token
    group by r.group_id
),

latest_statuses as (
    select controller, token, status, arg_max(state, (effective_at, state = 'on', seq)) as state
    from {{ source('ledger', 'statuses') }}
    where state = 'on' or effective_at <= {{ as_of() }}    -- what lifts a restriction waits for its time
    group by controller, token, status
),

statuses as (
    select
        r.group_id,
        bool_or(s.status = 'erased') as is_erased,
        bool_or(s.status = 'restricted') as is_restricted,
        bool_or(s.status = 'legal_hold') as is_held,
        bool_or(s.status = 'suppressed') as is_suppressed
    from latest_statuses as s
    inner join reached as r on s.controller = r.controller and s.token = r.token
    where s.state = 'on'
    group by r.group_id
)

select
    coalesce(a.group_id, s.group_id) as group_id,
    a.minor_until,
    coalesce(s.is_suppressed, false) as is_suppressed,
    case
        when s.is_erased then 'erased'
        when s.is_restricted then 'restricted'
        when s.is_held then 'legal_hold_use_blocked'
    end as status_reason
from ages as a
full outer join statuses as s on a.group_id = s.group_id
