-- For each segment and person the consent that admits them: of those that what the segment saw rests on, the one that ends
-- first.
with firsts as (
    select
        segment,
        person_key,
        bool_and(is_contactable) as is_contactable,
        arg_min(consent, {'until': consent.until, 'scope_bit': scope_bit}) as consent
    from {{ ref('int_segment_scopes_used') }}
    group by segment, person_key
)

select
    f.segment,
    f.person_key,
    f.is_contactable,
    f.consent.admitted_by,
    f.consent.notice,
    f.consent.until as consent_until
from firsts as f
