{{ config(materialized='view') }}
-- When the last scope that ever permitted something of a unit, and does not any more, ended: withdrawn, objected,
-- expired. A denial that is told again ends nothing again.
select unit_id, max(ended_at) as ended_at
from (
    select unit_id, scope_bit, max(t1) as ended_at
    from {{ ref('int_consent_intervals') }}
    where reason is null and t0 <= {{ as_of() }}
    group by unit_id, scope_bit
    having max(t1) <= {{ as_of() }}
)
group by unit_id
