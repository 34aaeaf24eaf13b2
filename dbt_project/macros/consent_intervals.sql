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
            g.unit_id, e.scope_bit, e.identifier_id, e.is_strong, e.seq, e.effective_at,
            e.inadmissible_reason as reason,
            case when e.inadmissible_reason is null then e.ends_at end as consent_until
        from events as e
        inner join {{ grantors }} as g on e.identifier_id = g.identifier_id
        where not e.restricts
    ),

    reached as (
        select r.identifier_id, u.unit_id
        from {{ source('identity', 'denial_reach') }} as r
        inner join {{ reached }} as u on r.group_id = u.group_id
    ),

    {# a weak identifier's grant lifts its own denial from the whole person, and permits nothing there #}
    lifts as (
        select r.unit_id, e.scope_bit, e.identifier_id, e.is_strong, e.seq, e.effective_at
        from events as e
        inner join {{ source('identity', 'identifiers') }} as i
            on e.identifier_id = i.identifier_id and not i.is_ambiguous
        inner join reached as r on e.identifier_id = r.identifier_id
        left join {{ grantors }} as g on r.unit_id = g.unit_id and e.identifier_id = g.identifier_id
        where not e.restricts and not e.is_strong and e.inadmissible_reason is null and g.unit_id is null
            and e.seq > 0    -- silence lifts nothing
    ),

    clearing as (
        select unit_id, scope_bit, identifier_id, is_strong, effective_at
        from grants where consent_until is not null and seq > 0    -- silence lifts nothing, whenever it begins
        union all by name
        select unit_id, scope_bit, identifier_id, is_strong, effective_at from lifts
    ),

    denials as (
        select
            r.unit_id, e.scope_bit, e.seq, e.effective_at, e.denial_reason as reason,
            coalesce(
                min(c.effective_at) filter (where c.is_strong or c.identifier_id = e.identifier_id), timestamp 'infinity'
            ) as blocks_until
        from events as e
        inner join reached as r on e.identifier_id = r.identifier_id
        left join clearing as c
            on r.unit_id = c.unit_id and e.scope_bit = c.scope_bit and c.effective_at > e.effective_at
        where e.restricts
        group by r.unit_id, e.scope_bit, e.seq, e.effective_at, e.denial_reason
    ),

    told as (
        select unit_id, scope_bit, seq, effective_at, reason, consent_until, null as blocks_until from grants
        union all by name
        select unit_id, scope_bit, seq, effective_at from lifts
        union all by name
        select unit_id, scope_bit, seq, effective_at, reason, blocks_until from denials
    ),

    {# what holds after each event; of several at one instant, after the last. No tie is broken by arrival, but to
       name a sequence number: of two grants at one instant the one that ends first holds. #}
    states as (
        select
            unit_id, scope_bit,
            effective_at as t0,
            lead(effective_at, 1, timestamp 'infinity') over so_far as t1,
            max(blocks_until) over so_far as blocked_until,
            last_value(case when blocks_until is not null then seq end ignore nulls) over so_far as denial,
            last_value(blocks_until ignore nulls) over so_far as denial_until,
            last_value(case when consent_until is not null then seq end ignore nulls) over so_far as consent,
            last_value(consent_until ignore nulls) over so_far as consent_until,
            last_value(case when blocks_until is null and reason is not null then seq end ignore nulls)
                over so_far as missing,
            last_value(case when blocks_until is null and reason is not null then effective_at end ignore nulls)
                over so_far as missing_at,
            bool_or(consent_until is not null and seq < 0) over so_far as is_silence_enough    -- of an opt-out regime
        from told
        window so_far as (
            partition by unit_id, scope_bit
            order by effective_at, consent_until desc nulls first, reason nulls first, seq
            rows between unbounded preceding and current row
        )
    ),

    {# the last denial may have been lifted while an earlier one, of another identifier, still blocks: the latest that
       does gives the reason #}
    blocking as (
        select
            s.unit_id, s.scope_bit, s.t0,
            arg_max(d.seq, {'at': d.effective_at, 'reason': d.reason, 'seq': d.seq}) as denial
        from states as s
        inner join denials as d
            on s.unit_id = d.unit_id and s.scope_bit = d.scope_bit
            and d.effective_at <= s.t0 and s.t0 < d.blocks_until
        where s.t0 < s.t1 and s.blocked_until > s.t0 and s.denial_until <= s.t0
        group by s.unit_id, s.scope_bit, s.t0
    ),

    {# a consent that ends before the next event parts the interval in two #}
    parted as (
        select
            s.* exclude (t0, t1),
            s.t0 as told_at,
            case when p.is_after then s.consent_until else s.t0 end as t0,
            case when s.ends_within and not p.is_after then s.consent_until else s.t1 end as t1,
            case
                when s.is_blocked then 'blocked'
                when s.consent_until > s.t0 and not p.is_after then 'permitted'
                -- a consent that has ended is no stricter than none: no opt-out on record still permits
                when s.is_silence_enough and s.denial is null then 'silent'
                when s.consent_until > s.missing_at or (s.missing is null and s.consent is not null) then 'ended'
                else 'missing'
            end as state
        from (
            select
                *,
                coalesce(blocked_until > t0, false) as is_blocked,
                coalesce(not is_blocked and consent_until > t0 and consent_until < t1, false) as ends_within
            from states
            where t0 < t1 and (denial is not null or consent is not null or missing is not null)
        ) as s
        cross join (values (false), (true)) as p (is_after)
        where s.ends_within or not p.is_after
    ),

    {# the ledger event that decides, which also gives the reason; none where nothing was ever said #}
    decided as (
        select
            p.unit_id, p.scope_bit, p.t0, p.t1, p.state, p.consent_until,
            case p.state
                when 'blocked' then case when p.denial_until > p.told_at then p.denial else b.denial end
                when 'missing' then p.missing
                when 'silent' then null
                else p.consent
            end as decided_by
        from parted as p
        left join blocking as b on p.unit_id = b.unit_id and p.scope_bit = b.scope_bit and p.told_at = b.t0
    )

    select
        d.unit_id,
        d.scope_bit,
        d.t0,
        d.t1,
        case d.state
            when 'blocked' then coalesce(e.denial_reason, 'denied')    -- whatever the reason, blocked stays blocked
            when 'permitted' then null
            when 'silent' then null
            when 'ended' then coalesce(e.end_reason, 'expired')
            else coalesce(e.inadmissible_reason, 'no_consent')
        end as reason,
        d.decided_by,
        case when d.state = 'permitted' and d.decided_by > 0 then d.decided_by end as admitted_by,
        case when d.state = 'permitted' then e.notice end as notice,
        case d.state when 'permitted' then d.consent_until when 'silent' then timestamp 'infinity' end as consent_until
    from decided as d
    left join events as e on d.decided_by = e.seq and d.scope_bit = e.scope_bit
{% endmacro %}
