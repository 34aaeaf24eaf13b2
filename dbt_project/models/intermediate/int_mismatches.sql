-- Identifiers whose consent to a purpose was given to another controller only: said as such, it never counts.
select distinct i.unit_id, e.purpose
from {{ source('ledger', 'consent_events') }} as e
inner join {{ ref('int_identifiers_resolved') }} as i on e.token = i.token and e.controller <> i.controller
where e.decision = 'grant' and i.unit_id <> 0
