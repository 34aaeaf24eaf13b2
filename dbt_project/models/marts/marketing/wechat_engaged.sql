-- People who came back to the official account or the mini-program.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, count(*) as touches
    from touchpoints
    where source = 'wechat' and event in ('follow', 'scan', 'click', 'mini_program_open', 'consult')
    group by person_key
    having touches >= {{ segment().parameters.minimum_touches }}
)

select * from {{ segment_members('people') }}
