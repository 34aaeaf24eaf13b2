{# Schemas are plain words (staging, intermediate, marts, governance), the same for everyone: one file is one build. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
