-- The purposes for which decisions are asked: those in policy and those that a segment names.
select
    a.purpose,
    p.purpose is not null as is_known
from (
    select purpose from {{ source('policy', 'purposes') }}
    union
    select purpose from {{ source('policy', 'segments') }}
) as a
left join {{ source('policy', 'purposes') }} as p on a.purpose = p.purpose
