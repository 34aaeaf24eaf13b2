-- High spenders among those who agreed separately to sharing with the partner. Refunds are left out: to hide one, as a
-- withdrawal may, must not make anybody a high spender.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, sum(amount) as spend
    from touchpoints
    where event = 'purchase' and amount > 0 and {{ one_of('tier', segment().parameters.tiers) }}
    group by person_key
    having spend >= {{ segment().parameters.minimum_spend }}
)

select * from {{ segment_members('people') }}
