{{ config(materialized='view') }}
-- Each gated touchpoint and purpose with the ledger events that admit it, computed on demand (R-11): the one in force
-- when it was collected and the one in force now. No event: an opt-out regime, in which nobody objected.
select
    g.touchpoint_key,
    g.purpose,
    g.category,
    g.person_key,
    g.occurred_at,
    c.admitted_by,
    c.notice,
    n.admitted_by as admitted_now_by,
    n.notice as notice_now,
    n.consent_until
from {{ ref('int_touchpoints_gated_by_purpose') }} as g
inner join {{ ref('int_consent_intervals') }} as c
    on g.unit_id = c.unit_id and g.scope_bit = c.scope_bit and c.t0 <= g.occurred_at and g.occurred_at < c.t1
    and c.reason is null
inner join {{ ref('int_permissions_now') }} as n
    on g.unit_id = n.unit_id and g.scope_bit = n.scope_bit and n.reason is null
