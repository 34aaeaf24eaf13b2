-- People with a birthday in T's month who visited one of the stores.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, max(birth_month) as birth_month
    from touchpoints
    group by person_key
    having
        bool_or(store is not null and {{ one_of('store', segment().parameters.stores) }})
        and bool_or({{ one_of('city', segment().parameters.cities) }})
        and max(birth_month) = month({{ local_day(as_of()) }})
)

select * from {{ segment_members('people') }}
