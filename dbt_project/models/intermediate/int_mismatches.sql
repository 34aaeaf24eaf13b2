-- People whose consent to a purpose was given to another controller only: said as such, it never counts.
select distinct u.unit_id, e.purpose
from {{ source('ledger', 'consent_events') }} as e
inner join {{ ref('int_identifiers_resolved') }} as i on e.token = i.token and e.controller <> i.controller
inner join {{ ref('int_units') }} as u on i.person_key = u.person_key
where e.decision = 'grant'
