-- The legal basis that a purpose needs for a group, by the regimes of the jurisdictions on record; where they conflict,
-- the strictest. Only groups with a jurisdiction on record are listed; `group_id is null` is everybody else.
-- A refusal may make the basis stricter, never laxer: what permits must come from a grant, of a strong identifier of the
-- group or of the only one, by its present holder. A browser's word is its own, and an undone link joins nobody.
with evidenced as (
    select
        r.group_id,
        j.regime,    -- null: a code that policy does not list is as good as none
        bool_or(
            not coalesce(d.restricts, true) and e.effective_at <= {{ as_of() }}
            and coalesce(e.effective_at >= i.held_since, true)    -- else a former holder granted it
            and i.group_id = r.group_id and (i.is_strong or i.group_size = 1)
        ) as is_granted
    from {{ source('ledger', 'consent_events') }} as e
    inner join {{ source('identity', 'identifiers') }} as i on e.controller = i.controller and e.token = i.token
    inner join {{ source('identity', 'denial_reach') }} as r on i.identifier_id = r.identifier_id
    left join {{ source('policy', 'jurisdictions') }} as j on e.jurisdiction = j.code
    left join {{ source('policy', 'decisions') }} as d on e.decision = d.decision
    where e.jurisdiction is not null
    group by r.group_id, j.regime
),

stated as (
    select p.purpose, r.regime, coalesce(b.basis, 'none') as basis
    from {{ source('policy', 'purposes') }} as p
    cross join (select distinct regime from {{ source('policy', 'jurisdictions') }}) as r
    left join {{ source('policy', 'purpose_basis') }} as b on p.purpose = b.purpose and r.regime = b.regime
),

-- of somebody about whom nothing is known: whatever the purpose states for any regime, the default regime's among
-- them; opt-out is never assumed
assumed as (
    select b.purpose, case b.basis when 'opt_out' then 'consent' else b.basis end as basis
    from {{ source('policy', 'purpose_basis') }} as b
    union
    select p.purpose, 'none' as basis
    from {{ source('policy', 'purposes') }} as p
    cross join {{ source('policy', 'settings') }} as s
    left join {{ source('policy', 'purpose_basis') }} as b on p.purpose = b.purpose and s.default_regime = b.regime
    where b.purpose is null
),

needed as (
    select e.group_id, s.purpose, s.basis
    from evidenced as e
    inner join stated as s on e.regime = s.regime
    union all
    select e.group_id, a.purpose, a.basis
    from (
        select group_id from evidenced group by group_id having not bool_or(is_granted and regime is not null)
        union
        select group_id from evidenced where regime is null
    ) as e
    cross join assumed as a
    union all
    select null as group_id, a.purpose, a.basis from assumed as a
)

select
    n.group_id,
    n.purpose,
    -- a contract and a consent cannot stand for each other: where both are asked for, neither will do
    case
        when bool_or(n.basis = 'contract') and bool_or(n.basis <> 'contract') then 'none'
        else arg_min(n.basis, s.strictness)
    end as basis
from needed as n
inner join {{ source('policy', 'bases') }} as s on n.basis = s.basis
group by n.group_id, n.purpose
