-- People who bought once and have been quiet since.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, date_diff('day', max(occurred_at), {{ as_of() }}) as days_since_purchase
    from touchpoints
    where category = 'transaction'
    group by person_key
    having days_since_purchase >= {{ segment().parameters.quiet_days }}
)

select * from {{ segment_members('people') }}
