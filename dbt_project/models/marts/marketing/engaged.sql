-- People who came back, by whatever permitted touchpoints there are; which people is a matter of the segment's stages.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, count(*) as touches
    from touchpoints
    group by person_key
    having touches >= {{ segment().parameters.minimum_touches }}
)

select * from {{ segment_members('people') }}
