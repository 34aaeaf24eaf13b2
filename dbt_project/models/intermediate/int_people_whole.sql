-- People of whom nothing is cut off: no identifier shared, unlinked, or left apart because joining was not permitted. Of
-- nobody else can it be said that they did not do something.
select person_key
from {{ ref('int_identifiers_resolved') }}
where person_key is not null
group by person_key
having bool_and(is_whole)
