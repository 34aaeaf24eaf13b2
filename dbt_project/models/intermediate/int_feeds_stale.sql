-- Controllers for which a consent feed is late or incomplete: a missing withdrawal would look like consent.
select distinct c.controller
from {{ source('policy', 'feed_controllers') }} as c
inner join {{ source('ledger', 'feeds') }} as f on c.feed = f.feed
where
    f.is_incomplete
    or (
        f.max_staleness_hours is not null
        and coalesce(f.last_seen_at + to_hours(f.max_staleness_hours::integer) < {{ as_of() }}, true)
    )
