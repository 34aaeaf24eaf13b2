-- A person's key for each purpose. Marts show these and never `person_key`, so two purposes cannot be joined.
select p.person_key, k.purpose, {{ audience_key('k.key', 'p.person_key') }} as audience_key
from (select distinct person_key from {{ ref('int_units') }}) as p
cross join {{ source('identity', 'purpose_keys') }} as k
