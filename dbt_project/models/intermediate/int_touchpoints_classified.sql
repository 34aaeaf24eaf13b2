{{ config(materialized='view') }}
-- What each touchpoint is (event, category). An item, store or account on policy's list makes it sensitive.
select
    t.touchpoint_key, t.source, t.controller, t.subject_token, t.occurred_at, e.event,
    t.item, t.store, t.account, t.city, t.tier, t.amount, t.birth_month,
    s.source is not null as is_known_source,
    case
        when e.category is null then null
        when {{ is_sensitive('t') }} then 'sensitive'
        else e.category
    end as category
from {{ ref('int_touchpoints_unioned') }} as t
left join {{ source('policy', 'sources') }} as s on t.source = s.source
left join {{ source('policy', 'events') }} as e on t.source = e.source and t.raw_event = e.raw_event
