{# The columns of a touchpoint that describe it; all may be held back until a stage of the relationship is reached. #}
{% macro descriptive_columns() -%}
    {{ return(['item', 'store', 'account', 'city', 'tier', 'amount', 'birth_month']) }}
{%- endmacro %}

{# The stages that some column of some source waits for. #}
{% macro stages_held_back() -%}
    {%- set stages = [] -%}
    {%- for sources in var('staged_columns').values() -%}{%- do stages.extend(sources.values()) -%}{%- endfor -%}
    {{ return(stages | unique | sort) }}
{%- endmacro %}

{# A column of touchpoint `t`, or nothing where its source fills it from a field of a stage without consent (R-10). #}
{% macro of_its_stage(column) -%}
    {%- set stages = var('staged_columns').get(column, {}) -%}
    {%- if stages -%}
    case
        {%- for source, stage in stages.items() %}
        when t.source = '{{ source }}' and t.mask_then & coalesce(stage_{{ stage }}.stage_mask, 0) = 0 then null
        {%- endfor %}
        else t.{{ column }}
    end
    {%- else -%}
    t.{{ column }}
    {%- endif -%}
{%- endmacro %}
