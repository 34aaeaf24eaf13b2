-- The join to the timelines neither drops nor doubles a touchpoint.
with counted as (
    select
        (select count(*) from {{ ref('int_touchpoints_unioned') }}) as read,
        (select count(*) from {{ ref('int_touchpoints_masked') }}) as masked
)

select * from counted where read <> masked
