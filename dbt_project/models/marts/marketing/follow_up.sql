-- People whose last visit to one of the stores is long enough ago for a follow-up.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, max(occurred_at) as visited_at
    from touchpoints
    where event = 'treatment' and {{ one_of('store', segment().parameters.stores) }}
    group by person_key
    having visited_at < {{ as_of() }} - to_days({{ segment().parameters.due_after_days }})
)

select * from {{ segment_members('people') }}
