-- Whose grants count for which unit: every strong identifier's for the whole person, a weak one's for itself alone.
select u.unit_id, i.identifier_id
from {{ ref('int_units') }} as u
inner join {{ ref('int_identifiers_resolved') }} as i on u.person_key = i.person_key
where i.is_strong or (u.is_own and u.unit_id = i.unit_id)
