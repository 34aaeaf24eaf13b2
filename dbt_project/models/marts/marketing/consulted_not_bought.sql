-- People who asked for advice in the lookback and have not bought since.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select
        person_key,
        max(occurred_at) filter (where event = 'consult') as consulted_at,
        max(occurred_at) filter (where event = 'purchase') as purchased_at,
        date_diff('day', consulted_at, {{ as_of() }}) as days_since_consult
    from touchpoints
    group by person_key
    having consulted_at is not null and coalesce(purchased_at < consulted_at, true)
)

select * from {{ segment_members('people') }}
