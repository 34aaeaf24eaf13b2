-- Which scopes a touchpoint of a category may serve at all, by its age: retention is another mask.
with ages as (
    select distinct controller, category, retention_days from {{ source('policy', 'scopes') }}
),

spans as (
    select
        controller,
        category,
        retention_days,
        {{ as_of() }} - to_days(retention_days::integer) as kept_from,
        lead({{ as_of() }} - to_days(retention_days::integer), 1, timestamp 'infinity') over (
            partition by controller, category order by retention_days desc
        ) as kept_to
    from ages
)

select a.controller, a.category, a.kept_from, a.kept_to, cast(sum(s.scope_mask) as bigint) as mask_kept
from spans as a
inner join {{ source('policy', 'scopes') }} as s
    on a.controller = s.controller and a.category = s.category and s.retention_days >= a.retention_days
group by a.controller, a.category, a.kept_from, a.kept_to
