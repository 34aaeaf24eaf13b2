{{ config(materialized='view') }}
-- Identifiers of people whose data must be kept although nobody may use it: restriction and legal hold defer every
-- deletion of what may be theirs (fault F10).
select r.identifier_id, min(p.status_reason) as held_by
from {{ source('identity', 'denial_reach') }} as r
inner join {{ ref('int_groups_profiled') }} as p on r.group_id = p.group_id
where p.status_reason in ('restricted', 'legal_hold_use_blocked')
group by r.identifier_id
