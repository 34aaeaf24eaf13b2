-- Every identifier with its person. Identifiers of a group are one person only where joining is permitted; otherwise
-- each stands for itself. `unit_id` names the timeline of consent that governs the identifier's touchpoints: the
-- person's, or its own where a weak identifier gave grants that cover nobody else. An ambiguous identifier has none.
with weak_grantors as (
    select distinct identifier_id
    from {{ ref('int_consent_events_admitted') }}
    where not is_strong and not restricts
),

-- the condition stands in a column of its own: beside the equality it would cost a loop over every pair
joinable as (
    select *, case when not is_ambiguous then group_id end as joinable_group
    from {{ source('identity', 'identifiers') }}
),

people as (
    select
        i.*,
        j.group_id is not null as is_joined,
        case
            when i.is_ambiguous then null
            when j.group_id is not null then i.group_token
            else i.token
        end as person_token,
        w.identifier_id is not null as has_own_grants
    from joinable as i
    left join {{ ref('int_groups_joined') }} as j on i.joinable_group = j.group_id
    left join weak_grantors as w on i.identifier_id = w.identifier_id
),

keyed as (
    select
        *,
        case when person_token is not null then left(sha256(controller || '|' || person_token), 32) end as person_key,
        case when has_own_grants and person_token is not null then identifier_id else 0 end as own_identifier
    from people
)

select
    identifier_id,
    controller,
    token,
    kind,
    issuer,
    is_strong,
    is_anchor,
    is_ambiguous,
    held_since,
    group_id,
    person_key,
    is_joined,
    is_whole and (is_joined or group_size = 1) as is_whole,
    own_identifier <> 0 as is_own_unit,
    case
        when person_key is null then 0
        else dense_rank() over (order by person_key nulls first, own_identifier)
    end as unit_id
from keyed
