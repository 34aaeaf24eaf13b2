-- Visitors whom nothing identifies but a browser or device, and who agreed to mass content.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

known as (
    select distinct person_key from {{ ref('int_identifiers_resolved') }} where is_strong
),

people as (
    select t.person_key, count(*) as touches
    from touchpoints as t
    left join known as k on t.person_key = k.person_key
    where k.person_key is null
    group by t.person_key
    having touches >= {{ segment().parameters.minimum_touches }}
)

select * from {{ segment_members('people') }}
