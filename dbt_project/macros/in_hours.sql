{# Is a clock time inside hours that may run over midnight? Missing hours are no hours. #}
{% macro in_hours(clock, starts, ends) -%}
    coalesce(
        case when {{ starts }} <= {{ ends }} then {{ clock }} >= {{ starts }} and {{ clock }} < {{ ends }}
            else {{ clock }} >= {{ starts }} or {{ clock }} < {{ ends }} end,
        false
    )
{%- endmacro %}
