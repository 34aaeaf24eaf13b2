-- People with exactly one purchase in the lookback, some days ago.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select
        person_key,
        count(*) as purchases,
        date_diff('day', max(occurred_at), {{ as_of() }}) as days_since_purchase
    from touchpoints
    where event = 'purchase'
    group by person_key
    having purchases = 1 and days_since_purchase >= {{ segment().parameters.waited_days }}
)

select * from {{ segment_members('people') }}
