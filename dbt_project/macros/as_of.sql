{# T: the instant for which the audience is built. It comes from the build's own record, never from a clock. #}
{% macro as_of() %}(select b.as_of from {{ source('meta', 'builds') }} as b){% endmacro %}
