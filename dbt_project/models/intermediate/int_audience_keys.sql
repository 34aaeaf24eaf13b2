-- The key, for a segment's purpose, of everybody considered for it. Marts show these and never `person_key`, so two
-- purposes cannot be joined.
select p.person_key, p.purpose, {{ audience_key('k.key', 'p.person_key') }} as audience_key
from (select distinct person_key, purpose from {{ ref('int_segment_people_considered') }}) as p
inner join {{ source('identity', 'purpose_keys') }} as k on p.purpose = k.purpose
