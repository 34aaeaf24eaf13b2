-- How many touchpoints each purpose may use, and why not the others. Every touchpoint counts once for each purpose.
select
    purpose,
    coalesce(reason, 'permit') as reason,
    cast(sum(touchpoints) as bigint) as touchpoints
from {{ ref('int_circumstances_decided') }}
group by purpose, coalesce(reason, 'permit')
