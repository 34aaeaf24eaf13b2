{{ config(materialized='view') }}
-- What each touchpoint is (event, category) and whose. An item, store or account on policy's list makes it sensitive.
select
    t.touchpoint_key, t.source, t.controller, t.occurred_at, e.event,
    t.item, t.store, t.account, t.city, t.tier, t.amount, t.birth_month,
    s.source is not null as is_known_source,
    e.category as event_category,
    case
        when e.category is null then null
        when {{ is_sensitive('t') }} then 'sensitive'
        else e.category
    end as category,
    i.identifier_id,
    -- before its present holder had the identifier, somebody else touched
    case when t.occurred_at < i.held_since then null else i.person_key end as person_key,
    coalesce(i.is_ambiguous or t.occurred_at < i.held_since, false) as is_ambiguous,
    case when t.occurred_at < i.held_since then 0 else coalesce(i.unit_id, 0) end as unit_id
from {{ ref('int_touchpoints_unioned') }} as t
left join {{ source('policy', 'sources') }} as s on t.source = s.source
left join {{ source('policy', 'events') }} as e on t.source = e.source and t.raw_event = e.raw_event
left join {{ ref('int_identifiers_resolved') }} as i on t.controller = i.controller and t.subject_token = i.token
