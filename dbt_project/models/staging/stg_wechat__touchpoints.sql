select
    touchpoint_key,
    source,
    controller,
    subject_token,
    occurred_at,
    raw_event,
    item,
    cast(null as varchar) as store,
    account,
    cast(null as varchar) as city,
    cast(null as varchar) as tier,
    cast(null as double) as amount,
    cast(null as bigint) as birth_month
from {{ source('lake', 'wechat') }}
