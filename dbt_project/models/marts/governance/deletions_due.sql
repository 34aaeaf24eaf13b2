-- Rows that no purpose may keep, and the day on which they go or went due: past every retention rule, or without a
-- permit beyond the window for a late consent or beyond the days after a withdrawal. `held_by`: what defers it.
select
    source,
    coalesce(category, 'unmapped') as category,
    reason,
    {{ local_day('occurred_at') }} as business_day,
    {{ local_day('due_at') }} as due_on,
    held_by,
    cast(count(*) as bigint) as rows_due
from {{ ref('int_deletions_due') }}
group by all
