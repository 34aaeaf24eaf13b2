-- The groups of identifiers that may be treated as one person: joining is a purpose of its own, and needs a grant by
-- a strong identifier of the group that no denial from anywhere in the group's reach has blocked.
with grantors as (
    select group_id as unit_id, identifier_id
    from {{ source('identity', 'identifiers') }}
    where is_strong and not is_ambiguous
),

reached as (
    select distinct group_id as unit_id, group_id from {{ source('identity', 'identifiers') }} where not is_ambiguous
),

intervals as (
    {{ consent_intervals('grantors', 'reached', where=identity_scopes()) }}
)

select distinct i.unit_id as group_id
from intervals as i
left join {{ ref('int_groups_profiled') }} as g on i.unit_id = g.group_id
where i.reason is null and i.t0 <= {{ as_of() }} and {{ as_of() }} < i.t1 and g.status_reason is null
