{#
    What every segment shares. A segment's model reads `touchpoints`, says which people it means in `people`
    (person_key and its own columns), and ends with `select * from segment_members('people')`.
#}
{% macro segment() %}{{ return(var('segments')[model.name]) }}{% endmacro %}

{# Touchpoints that the segment's purpose may use, in its lookback; sensitive ones only for a sensitive segment. #}
{% macro segment_touchpoints() -%}
    {%- set s = segment() -%}
    (
    select *
    from {{ ref('int_touchpoints_gated_by_purpose') }}
    where purpose = '{{ s.purpose }}'
        and controller = '{{ s.controller }}'
        and occurred_at >= {{ as_of() }} - to_days({{ s.lookback_days }})
        {%- if not s.reads_sensitive %}
        and category <> 'sensitive'
        {%- endif %}
    )
{%- endmacro %}

{# The members: permitted now, absence proved where it counts, of the stages asked for, nobody that the segment excludes. #}
{% macro segment_members(people) -%}
    {%- set s = segment() -%}
    (
    select
        k.audience_key,
        a.admitted_by,
        a.notice,
        a.consent_until
        {%- for column in s.columns %},
        cast(p.{{ column.name }} as {{ column.type }}) as {{ column.name }}
        {%- endfor %}
    from {{ people }} as p
    inner join {{ ref('int_segment_people_permitted') }} as a
        on p.person_key = a.person_key and a.segment = '{{ model.name }}'
    inner join {{ ref('int_audience_keys') }} as k
        on p.person_key = k.person_key and k.purpose = '{{ s.purpose }}'
    {%- if s.absent %}
    inner join {{ ref('int_absences_proved') }} as f
        on p.person_key = f.person_key and f.segment = '{{ model.name }}'
    {%- endif %}
    {%- if s.stages %}
    inner join {{ ref('int_people_staged') }} as g
        on p.person_key = g.person_key and g.is_open and {{ one_of('g.stage', s.stages) }}
    {%- endif %}
    {%- if s.excludes %}
    inner join {{ ref('int_exclusions_proved') }} as n
        on p.person_key = n.person_key and n.segment = '{{ model.name }}'
    {%- endif %}
    {%- for other in s.excludes %}
    left join {{ ref('int_audience_keys') }} as k{{ loop.index }}
        on p.person_key = k{{ loop.index }}.person_key
        and k{{ loop.index }}.purpose = '{{ var('segments')[other].purpose }}'
    left join {{ ref(other) }} as x{{ loop.index }} on k{{ loop.index }}.audience_key = x{{ loop.index }}.audience_key
    {%- endfor %}
    {%- if s.excludes %}
    where {% for other in s.excludes %}x{{ loop.index }}.audience_key is null{{ ' and ' if not loop.last }}{% endfor %}
    {%- endif %}
    )
{%- endmacro %}

{# A list from policy as SQL: empty means that the parameter does not narrow. #}
{% macro one_of(column, values) -%}
    {%- if values %}{{ column }} in ({% for value in values %}'{{ value | replace("'", "''") }}'{{ ', ' if not loop.last }}{% endfor %})
    {%- else %}true{% endif -%}
{%- endmacro %}
