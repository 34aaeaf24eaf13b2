select
    touchpoint_key,
    source,
    controller,
    subject_token,
    occurred_at,
    raw_event,
    item,
    store,
    cast(null as varchar) as account,
    city,
    tier,
    amount,
    birthday_month_of_year as birth_month
from {{ source('lake', 'in_store') }}
