-- Each member of a segment at each destination: permit (no reason), or exactly one reason in the order of design §4.
{% set build_at = as_of() %}
with asked as (
    select
        p.segment, g.purpose, g.controller, g.minimum_size, p.person_key, p.audience_key,
        p.admitted_by, p.notice, p.consent_until, d.destination, t.channel, t.kind, t.issuer, t.country,
        t.transfer_mechanism, t.transfer_purpose, t.needs_permission, t.sends_on_receipt, t.quiet_start, t.quiet_end,
        t.frequency_maximum, t.frequency_days, o.country as home_country
    from {{ ref('int_segment_people') }} as p
    inner join {{ source('policy', 'segments') }} as g on p.segment = g.segment
    inner join {{ source('policy', 'segment_destinations') }} as d on p.segment = d.segment
    inner join {{ source('policy', 'destinations') }} as t on d.destination = t.destination
    inner join {{ source('policy', 'controllers') }} as o on g.controller = o.controller
    where p.is_member
),

contacts as (
    select
        person_key, channel, kind, issuer,
        -- one that the platform closed is used for nothing, whether or not its channel asks for a permission
        arg_min(
            token,
            {'closed': coalesce(is_closed, false), 'shut': not coalesce(is_open, false), 'token': token}
        ) as token,
        bool_or(coalesce(is_open, false)) as is_open,
        bool_and(coalesce(is_closed, false)) as is_closed
    from {{ ref('int_contact_points') }}
    group by person_key, channel, kind, issuer
),

-- open for every scope that the segment used of the person
channels as (
    select
        u.segment, u.person_key, n.channel, bool_and(n.is_open) as is_open,
        count(*) = max(t.scopes) as is_granted
    from {{ ref('int_segment_scopes_used') }} as u
    inner join (
        select segment, person_key, count(*) as scopes from {{ ref('int_segment_scopes_used') }} group by all
    ) as t on u.segment = t.segment and u.person_key = t.person_key
    inner join {{ ref('int_channels_granted') }} as n on u.person_key = n.person_key and u.scope_bit = n.scope_bit
    group by u.segment, u.person_key, n.channel
),

deliveries as (
    select a.destination, a.person_key, count(*) as deliveries
    from (select distinct destination, frequency_days, person_key from asked) as a
    inner join {{ ref('int_identifiers_resolved') }} as i on a.person_key = i.person_key
    inner join {{ source('activity', 'deliveries') }} as l
        on i.token = l.token
        and a.destination = l.destination
        and l.delivered_at <= {{ build_at }}
        and l.delivered_at > {{ build_at }} - to_days(a.frequency_days::integer)
    group by a.destination, a.person_key
),

local_time as (
    select
        strftime(timezone(zone, timezone('UTC', {{ build_at }})), '%H:%M') as clock,
        {{ local_day(build_at) }} as today
    from {{ source('policy', 'settings') }}
),

reasoned as (
    select
        a.*,
        c.token as contact_token,
        case
            when a.country <> a.home_country and (a.transfer_mechanism is null or x.person_key is null)
                then 'transfer_not_allowed'
            when not coalesce(w.is_contactable, false) then 'no_consent'
            -- activation waits for an impact assessment that is current by the local calendar (R-93)
            when q.requires_impact_assessment and coalesce(q.impact_assessment_until < z.today, true)
                then 'channel_not_allowed'
            when not coalesce(n.is_granted, false) then 'channel_not_allowed'
            when c.token is null then 'no_contact_point'
            when (a.needs_permission and not c.is_open) or c.is_closed then 'permission_missing'
            when not coalesce(n.is_open, true) then 'preference_off'
            when l.deliveries >= a.frequency_maximum then 'frequency_capped'
            when a.sends_on_receipt and {{ in_hours('z.clock', 'a.quiet_start', 'a.quiet_end') }} then 'quiet_hours'
            when u.is_suppressed then 'suppressed'
            when s.controller is not null then 'feed_stale'
        end as own_reason
    from asked as a
    cross join local_time as z
    inner join {{ source('policy', 'purposes') }} as q on a.purpose = q.purpose
    left join {{ ref('int_segment_people_permitted') }} as w on a.segment = w.segment and a.person_key = w.person_key
    left join (select distinct person_key, purpose from {{ ref('int_people_permitted') }} where is_contactable) as x
        on a.person_key = x.person_key and a.transfer_purpose = x.purpose
    left join channels as n on a.segment = n.segment and a.person_key = n.person_key and a.channel = n.channel
    left join contacts as c
        on a.person_key = c.person_key and a.channel = c.channel and a.kind = c.kind and a.issuer = c.issuer
    left join deliveries as l on a.person_key = l.person_key and a.destination = l.destination
    left join (
        select person_key, bool_or(is_suppressed) as is_suppressed from {{ ref('int_units') }} group by person_key
    ) as u on a.person_key = u.person_key
    left join {{ ref('int_feeds_stale') }} as s on a.controller = s.controller
)

select
    segment,
    destination,
    channel,
    purpose,
    controller,
    person_key,
    audience_key,
    contact_token,
    kind as contact_kind,
    case
        when own_reason is not null then own_reason
        when count(*) filter (where own_reason is null) over (partition by segment, destination) < minimum_size
            then 'below_minimum_size'
    end as reason,
    admitted_by,
    notice,
    consent_until
from reasoned
