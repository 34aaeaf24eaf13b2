{# The scopes of the purpose that permits joining identifiers. #}
{% macro identity_scopes() -%}
    scope_bit in (
        select s.scope_bit from {{ source('policy', 'scopes') }} as s
        inner join {{ source('policy', 'settings') }} as p on s.purpose = p.identity_purpose
    )
{%- endmacro %}
