{# A person's key for one purpose: keyed, so that the marts of two purposes cannot be joined (design §6). #}
{% macro audience_key(key, person_key) %}left(sha256({{ key }} || sha256({{ key }} || {{ person_key }})), 32){% endmacro %}
