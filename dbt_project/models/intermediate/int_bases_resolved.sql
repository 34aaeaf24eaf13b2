-- The legal basis that a purpose needs for a group: by the regimes of the jurisdictions on record, the strictest
-- where they conflict. Only groups with a jurisdiction on record are listed; `group_id is null` is everybody else,
-- for whom the default regime holds and an opt-out basis is never assumed.
with evidenced as (
    select distinct r.group_id, coalesce(j.regime, p.default_regime) as regime
    from {{ source('ledger', 'consent_events') }} as e
    inner join {{ source('identity', 'identifiers') }} as i on e.controller = i.controller and e.token = i.token
    inner join {{ source('identity', 'denial_reach') }} as r on i.identifier_id = r.identifier_id
    cross join {{ source('policy', 'settings') }} as p
    left join {{ source('policy', 'jurisdictions') }} as j on e.jurisdiction = j.code
    where e.jurisdiction is not null
),

needed as (
    select e.group_id, p.purpose, coalesce(b.basis, 'none') as basis
    from evidenced as e
    cross join {{ source('policy', 'purposes') }} as p
    left join {{ source('policy', 'purpose_basis') }} as b on p.purpose = b.purpose and e.regime = b.regime
    union all
    select
        null as group_id,
        p.purpose,
        case b.basis when 'opt_out' then 'consent' else coalesce(b.basis, 'none') end as basis
    from {{ source('policy', 'purposes') }} as p
    cross join {{ source('policy', 'settings') }} as s
    left join {{ source('policy', 'purpose_basis') }} as b on p.purpose = b.purpose and s.default_regime = b.regime
)

select
    n.group_id,
    n.purpose,
    arg_min(n.basis, s.strictness) as basis
from needed as n
inner join {{ source('policy', 'bases') }} as s on n.basis = s.basis
group by n.group_id, n.purpose
