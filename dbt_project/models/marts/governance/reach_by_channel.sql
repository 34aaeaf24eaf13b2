-- How many members of each segment may be contacted where.
select
    segment,
    destination,
    channel,
    cast(count(*) filter (where reason is null) as bigint) as reachable,
    cast(count(*) as bigint) as members
from {{ ref('int_activations_decided') }}
group by segment, destination, channel
