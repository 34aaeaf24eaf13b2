{#
    The state of consent over time, in one place: for each unit and scope, intervals [t0, t1) with the reason of a
    denial, or null where use is permitted.

    grantors  (unit_id, identifier_id)  whose grants count for the unit
    reached   (unit_id, group_id)       the groups whose denials block the unit

    An admitted grant holds until it ends or the next one replaces it. A denial holds until a later grant by a strong
    identifier of the unit, or by the same weak identifier where a weak one denied. At equal times the denial wins,
    because a grant must be strictly later to clear it. Arrival order plays no part.
#}
{% macro consent_intervals(grantors, reached, where='true') %}
    with events as (
        select * from {{ ref('int_consent_events_admitted') }}
        where {{ where }} and (channel is null or not restricts)    -- one channel's refusal narrows activation only
    ),

    grants as (
        select
            g.unit_id, e.scope_bit, e.identifier_id, e.is_strong, e.seq, e.effective_at, e.ends_at, e.end_reason,
            e.inadmissible_reason, e.notice, false as is_denial, true as counts,
            cast(null as varchar) as denial_reason
        from events as e
        inner join {{ grantors }} as g on e.identifier_id = g.identifier_id
        where not e.restricts
    ),

    {# a weak identifier's grant lifts its own denial from the whole person, and permits nothing there #}
    lifts as (
        select distinct
            u.unit_id, e.scope_bit, e.identifier_id, e.is_strong, e.seq, e.effective_at, e.ends_at, e.end_reason,
            e.inadmissible_reason, e.notice, false as is_denial, false as counts, e.denial_reason
        from events as e
        inner join {{ source('identity', 'identifiers') }} as i
            on e.identifier_id = i.identifier_id and not i.is_ambiguous
        inner join {{ source('identity', 'denial_reach') }} as r on e.identifier_id = r.identifier_id
        inner join {{ reached }} as u on r.group_id = u.group_id
        left join {{ grantors }} as g on u.unit_id = g.unit_id and e.identifier_id = g.identifier_id
        where not e.restricts and not e.is_strong and e.inadmissible_reason is null and g.unit_id is null
    ),

    denials as (
        select distinct
            u.unit_id, e.scope_bit, e.identifier_id, e.is_strong, e.seq, e.effective_at, e.ends_at, e.end_reason,
            e.inadmissible_reason, e.notice, true as is_denial, false as counts, e.denial_reason
        from events as e
        inner join {{ source('identity', 'denial_reach') }} as r on e.identifier_id = r.identifier_id
        inner join {{ reached }} as u on r.group_id = u.group_id
        where e.restricts
    ),

    ordered as (
        select
            *,
            counts and inadmissible_reason is null as is_admitted,
            case when is_admitted then effective_at end as granted_at,
            case when not is_denial and not is_strong and inadmissible_reason is null then effective_at end as lifted_at
        from (select * from grants union all by name select * from lifts union all by name select * from denials)
    ),

    {# grants sort before denials of the same instant, so that what follows a denial is strictly later; of two grants
       at one instant the one that ends first holds. No tie is broken by arrival, but to name a sequence number. #}
    followed as (
        select
            *,
            min(granted_at) over later as next_grant_at,
            min(case when is_strong then granted_at end) over later as next_strong_grant_at,
            min(lifted_at) over later_of_same as next_own_grant_at
        from ordered
        window
            later as (
                partition by unit_id, scope_bit order by effective_at, is_denial, ends_at desc, seq
                rows between 1 following and unbounded following
            ),
            later_of_same as (
                partition by unit_id, scope_bit, identifier_id order by effective_at, is_denial, ends_at desc, seq
                rows between 1 following and unbounded following
            )
    ),

    held as (
        select
            *,
            case
                when not is_denial then least(ends_at, coalesce(next_grant_at, timestamp 'infinity'))
                when is_strong then coalesce(next_strong_grant_at, timestamp 'infinity')
                else least(
                    coalesce(next_strong_grant_at, timestamp 'infinity'),
                    coalesce(next_own_grant_at, timestamp 'infinity')
                )
            end as held_until
        from followed
    ),

    changes as (
        select
            unit_id, scope_bit, effective_at as changed_at, seq, 1 as step_order,
            case when is_admitted then 1 else 0 end as granted,
            case when is_denial then 1 else 0 end as blocked,
            case when is_admitted then {'seq': seq, 'notice': notice, 'until': ends_at} end as consent,
            denial_reason,
            inadmissible_reason as missing_reason
        from held
        where counts or is_denial
        union all
        select
            unit_id, scope_bit, held_until as changed_at, seq, 0 as step_order,
            case when is_admitted then -1 else 0 end as granted,
            case when is_denial then -1 else 0 end as blocked,
            null as consent,
            null as denial_reason,
            case when is_admitted and held_until = ends_at then end_reason end as missing_reason
        from held
        where (is_admitted or is_denial) and held_until < timestamp 'infinity'
    ),

    swept as (
        select
            unit_id, scope_bit, changed_at,
            sum(granted) over upto as granted,
            sum(blocked) over upto as blocked,
            last_value(consent ignore nulls) over upto as consent,
            last_value(denial_reason ignore nulls) over upto as denial_reason,
            last_value(missing_reason ignore nulls) over upto as missing_reason,
            last_value(case when denial_reason is not null then seq end ignore nulls) over upto as denied_by,
            last_value(case when missing_reason is not null then seq end ignore nulls) over upto as missed_by,
            row_number() over (
                partition by unit_id, scope_bit, changed_at
                order by step_order desc, denial_reason desc nulls last, missing_reason desc nulls last, seq desc
            ) as place
        from changes
        window upto as (
            partition by unit_id, scope_bit
            order by changed_at, step_order, denial_reason nulls first, missing_reason nulls first, seq
            rows between unbounded preceding and current row
        )
    )

    select
        unit_id,
        scope_bit,
        changed_at as t0,
        lead(changed_at, 1, timestamp 'infinity') over (partition by unit_id, scope_bit order by changed_at) as t1,
        case
            when blocked > 0 then denial_reason
            when granted > 0 then null
            else coalesce(missing_reason, 'no_consent')
        end as reason,
        -- the ledger event that gives the reason; none where nothing was ever said
        case when blocked > 0 then denied_by when granted > 0 then consent.seq else missed_by end as decided_by,
        case when blocked = 0 and granted > 0 and consent.seq > 0 then consent.seq end as admitted_by,
        case when blocked = 0 and granted > 0 then consent.notice end as notice,
        case when blocked = 0 and granted > 0 then consent.until end as consent_until
    from swept
    where place = 1
{% endmacro %}
