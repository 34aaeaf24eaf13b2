-- The timeline of each identifier as touchpoints name it: that of the person whose it is. Before its present holder had
-- it, somebody else touched: nobody's.
select
    i.controller, i.token, i.identifier_id, i.person_key, i.is_ambiguous, l.unit_id,
    greatest(l.t0, coalesce(i.held_since, timestamp '-infinity')) as t0,
    l.t1, l.mask_then, l.is_minor
from {{ ref('int_identifiers_resolved') }} as i
inner join {{ ref('int_timelines') }} as l on i.unit_id = l.unit_id
where i.held_since is null or i.held_since < l.t1
union all
select
    i.controller, i.token, i.identifier_id, null as person_key, true as is_ambiguous, 0 as unit_id,
    timestamp '-infinity' as t0, i.held_since as t1, 0 as mask_then, false as is_minor
from {{ ref('int_identifiers_resolved') }} as i
where i.held_since is not null
