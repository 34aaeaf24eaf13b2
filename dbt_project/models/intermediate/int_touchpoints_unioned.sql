{{ config(materialized='view') }}
-- Touchpoints of every source in policy, up to T.
{% for name in var('sources') %}
select
    touchpoint_key, source, controller, subject_token, occurred_at, raw_event,
    item, store, account, city, tier, amount, birth_month
from {{ ref('stg_' ~ name ~ '__touchpoints') }}
where occurred_at <= {{ as_of() }}
{{ 'union all by name' if not loop.last }}
{% endfor %}
