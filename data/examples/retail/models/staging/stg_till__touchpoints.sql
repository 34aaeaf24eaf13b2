select
    touchpoint_key,
    source,
    controller,
    subject_token,
    occurred_at,
    raw_event,
    item,
    cast(null as varchar) as store,
    cast(null as varchar) as account,
    cast(null as varchar) as city,
    cast(null as varchar) as tier,
    quantity * unit_price as amount,
    cast(null as bigint) as birth_month
from {{ source('lake', 'till') }}
