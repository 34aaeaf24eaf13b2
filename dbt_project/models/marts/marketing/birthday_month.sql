-- People with a birthday in T's month who visited one of the stores.
{% set month = 'month(' ~ local_day(as_of()) ~ ')' %}
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    -- where records disagree any of them counts: hiding one, as a withdrawal may, must not make it somebody's birthday
    select person_key, max(birth_month) filter (where birth_month = {{ month }}) as birth_month
    from touchpoints
    group by person_key
    having
        bool_or(store is not null and {{ one_of('store', segment().parameters.stores) }})
        and bool_or({{ one_of('city', segment().parameters.cities) }})
        and bool_or(birth_month = {{ month }})
)

select * from {{ segment_members('people') }}
