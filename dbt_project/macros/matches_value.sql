{# Does a column's value match one of policy's values, which may end in a prefix mark? #}
{% macro matches_value(column, value) -%}
    case when {{ value }}.is_prefix then starts_with({{ column }}, {{ value }}.value_prefix)
        else {{ column }} = {{ value }}.value_prefix end
{%- endmacro %}
