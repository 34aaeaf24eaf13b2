-- Customers who bought on several trading days. A cancellation is not a purchase.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, count(distinct {{ local_day('occurred_at') }}) as buying_days
    from touchpoints
    where event = 'purchase'
    group by person_key
    having buying_days >= {{ segment().parameters.minimum_days }}
)

select * from {{ segment_members('people') }}
