-- The items, stores and accounts that policy calls sensitive; none that another covers, so that a touchpoint matches one
-- at most.
with covered as (
    select v.field, v.value_prefix, v.is_prefix
    from {{ source('policy', 'sensitive_values') }} as v
    inner join {{ source('policy', 'sensitive_values') }} as w on v.field = w.field
    where
        w.is_prefix and starts_with(v.value_prefix, w.value_prefix)
        and (v.value_prefix <> w.value_prefix or not v.is_prefix)
)

select field, value_prefix, is_prefix from {{ source('policy', 'sensitive_values') }}
except
select field, value_prefix, is_prefix from covered
