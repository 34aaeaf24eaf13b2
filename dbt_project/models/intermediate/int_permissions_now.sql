-- The state at T of each unit for each scope, with the ledger event and notice that admit it.
select
    i.unit_id,
    u.person_key,
    u.controller,
    u.is_own,
    s.purpose,
    s.category,
    s.recipient,
    s.scope_bit,
    coalesce(u.status_reason, i.reason) as reason,
    case when u.status_reason is null and i.decided_by > 0 then i.decided_by end as decided_by,
    case when u.status_reason is null then i.admitted_by end as admitted_by,
    case when u.status_reason is null then i.notice end as notice,
    case when u.status_reason is null then i.consent_until end as consent_until
from {{ ref('int_consent_intervals') }} as i
inner join {{ ref('int_units') }} as u on i.unit_id = u.unit_id
inner join {{ source('policy', 'scopes') }} as s on i.scope_bit = s.scope_bit and u.controller = s.controller
where i.t0 <= {{ as_of() }} and {{ as_of() }} < i.t1
