-- High spenders among those who agreed separately to sharing with the partner.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, sum(amount) as spend
    from touchpoints
    where event in ('purchase', 'refund') and {{ one_of('tier', segment().parameters.tiers) }}
    group by person_key
    having spend >= {{ segment().parameters.minimum_spend }}
)

select * from {{ segment_members('people') }}
