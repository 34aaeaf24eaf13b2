-- The gate: the only way by which touchpoints reach a mart. What no scope permits is not here, and what belongs to a
-- later stage of the relationship is empty unless that stage's consent held when it was collected and holds now.
with stages as (
    select g.stage, s.controller, cast(sum(s.scope_mask) as bigint) as stage_mask
    from {{ source('policy', 'stages') }} as g
    inner join {{ source('policy', 'scopes') }} as s on g.purpose = s.purpose
    group by g.stage, s.controller
)

select
    t.touchpoint_key, t.source, t.controller, t.identifier_id, t.unit_id, t.person_key, t.occurred_at, t.event,
    t.category,
    {% for column in descriptive_columns() -%}
    {{ of_its_stage(column) }} as {{ column }},
    {% endfor -%}
    t.permitted_mask
from {{ ref('int_touchpoints_masked') }} as t
{% for stage in stages_held_back() %}
left join stages as stage_{{ stage }}
    on t.controller = stage_{{ stage }}.controller and stage_{{ stage }}.stage = '{{ stage }}'
{% endfor %}
where t.permitted_mask <> 0 and t.is_known_source and t.person_key is not null
