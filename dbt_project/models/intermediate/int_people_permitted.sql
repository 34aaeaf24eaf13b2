-- Per person and purpose the consent that admits them now. With `is_sensitive`, the one for sensitive data.
-- `is_contactable` is false where only a weak identifier's own grant admits: that never authorises a contact.
with permitted as (
    select *, category = 'sensitive' as is_sensitive
    from {{ ref('int_permissions_now') }}
    where reason is null
)

-- the person's own consent before a weak identifier's, ordinary data before the rest
select
    person_key,
    controller,
    purpose,
    is_sensitive,
    bool_or(not is_own) over same as is_contactable,
    admitted_by,
    notice,
    consent_until
from permitted
window same as (partition by person_key, controller, purpose, is_sensitive)
qualify row_number() over (
    partition by person_key, controller, purpose, is_sensitive order by is_own, scope_bit, unit_id
) = 1
