-- Customers whose purchases, less what they cancelled, exceed the threshold.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, sum(amount) as spend
    from touchpoints
    where event in ('purchase', 'cancellation')
    group by person_key
    having spend >= {{ segment().parameters.minimum_spend }}
)

select * from {{ segment_members('people') }}
