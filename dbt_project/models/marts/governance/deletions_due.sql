-- Rows that no purpose may keep any longer: past every retention rule, or beyond the window for a late consent
-- without a permit.
select
    source,
    coalesce(category, 'unmapped') as category,
    {{ local_day('occurred_at') }} as business_day,
    cast(count(*) as bigint) as rows_due
from {{ ref('int_touchpoints_masked') }}
where
    mask_kept = 0
    or (
        permitted_mask = 0
        and occurred_at < {{ as_of() }} - to_days((
            select s.late_consent_window_days::integer from {{ source('policy', 'settings') }} as s
        ))
    )
group by all
