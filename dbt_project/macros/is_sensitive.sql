{# Does policy list the item, store or account of touchpoint `t` as sensitive? Policy's few values stand in the SQL: joined
   as a table they would be compared row by row, which took as long as all the rest of the gate. #}
{% macro is_sensitive(t) -%}
    coalesce(
        {%- for rule in var('sensitive_values') %}
        {{ 'or ' if not loop.first }}
        {%- set value = "'" ~ rule.value | replace("'", "''") ~ "'" -%}
        {%- if rule.is_prefix %}starts_with({{ t }}.{{ rule.field }}, {{ value }})
        {%- else %}{{ t }}.{{ rule.field }} = {{ value }}{% endif %}
        {%- else %}
        false
        {%- endfor %},
        false
    )
{%- endmacro %}
