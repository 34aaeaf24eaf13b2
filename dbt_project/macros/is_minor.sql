{# Was the person a minor when this record took effect? Unknown age is what policy says it is. #}
{% macro is_minor(record, group) %}{{ is_minor_at(record ~ '.effective_at', group) }}{% endmacro %}

{% macro is_minor_at(instant, group) -%}
    coalesce({{ instant }} < {{ group }}.minor_until, p.unknown_age = 'minor')
{%- endmacro %}
