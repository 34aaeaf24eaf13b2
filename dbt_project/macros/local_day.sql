{# The business day, in policy's zone, of a UTC instant. #}
{% macro local_day(instant) -%}
    cast(timezone((select p.zone from {{ source('policy', 'settings') }} as p), timezone('UTC', {{ instant }})) as date)
{%- endmacro %}
