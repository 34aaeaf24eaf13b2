"""What policy certainly forbids for an audience, told from the ledger and the policy's tables alone.

None of the models under test is asked: a broken gate would call everything permitted, and nothing would be perturbed.
What is not certain counts as permitted. People here are whole: whoever any link on record ever joined
(`sample.label_people`). Not here: how what is forbidden is changed (`changes.py`)."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from orchestration.ingestion.quoting import text
from orchestration.policy.schema import Policy
from orchestration.proof.twins.world import World

# What may be wrong with a touchpoint, in the order in which it is looked for; the words end "… of people who".
KINDS = {
    "elsewhere": "records of another controller",
    "stranger": "records of people who never permitted the purpose",
    "ended": "touchpoints of people whom nothing permits now: refused, expired, or never admissible",
    "withheld": "touchpoints of categories that nothing permits now, though others are permitted",
    "before": "touchpoints from before anything permitted the purpose",
    "old": "touchpoints past the longest retention of the purpose",
    "unlisted": "touchpoints of categories that the purpose does not list",
    "sensitive": "sensitive touchpoints, which the segment does not declare that it reads",
    "field": "fields of categories that the purpose does not list",
    "stage": "fields that belong to a stage to which the person has not agreed",
    "key": "the key of another purpose",
    "contact": "contact details for a channel that the person's consents leave out",
    "denial": "denials, and identifiers linked that carry nothing else",
}
WHOLE = ("stranger", "elsewhere")  # everything about them may differ
HIDDEN = ("withheld", "before", "old", "unlisted", "sensitive")  # of people who may be members all the same


@dataclass(frozen=True)
class Audience:
    """Segments for which the same is forbidden."""

    controller: str
    purpose: str
    reads_sensitive: bool
    segments: tuple[str, ...]
    excluding: frozenset[str]  # those that leave out the people of another: what is hidden may remove their people

    @property
    def name(self) -> str:
        return f"{self.purpose} at {self.controller}"


def audiences(con: duckdb.DuckDBPyConnection) -> list[Audience]:
    """Those of the policy that is staged in the current database."""
    rows = con.execute("""
        select controller, purpose, coalesce(reads_sensitive, false) as reads_sensitive, list(segment order by segment),
            list(segment) filter (segment in (select segment from policy.segment_excludes))
        from policy.segments group by all order by all
    """).fetchall()
    return [Audience(c, p, r, tuple(segments), frozenset(excluding or ())) for c, p, r, segments, excluding in rows]


def tell_states(world: World, policy: Policy) -> None:
    """Makes `twin_states` (controller, purpose, category, person: since when anything may have permitted it, and
    whether anything may at T), `twin_touches` (every touchpoint with what policy says of it), and of both what no
    audience decides."""
    con = world.con
    world.use()
    con.execute(_EVIDENCE)
    con.execute(_GRANTS)
    con.execute(_STATES)
    con.execute("create or replace table twin_touches as " + " union all ".join(
        _touches(world, policy, source.name) for source in policy.sources.sources
    ))  # fmt: skip
    con.execute(_STAGES)


# Of whom everything is held back at a controller: each identifier has a status that blocks and that nothing lifted, or
# is a minor's, for whom no guardian ever spoke.
_EVIDENCE = """
    create or replace table twin_told as
    select e.*, p.person, not coalesce(d.restricts, true) as grants
    from ledger.consent_events as e
    inner join twin_people as p on e.token = p.token
    left join policy.decisions as d on e.decision = d.decision;

    create or replace table twin_regimes as
    select p.person, coalesce(string_agg(distinct j.regime, '+' order by j.regime), 'no regime') as regime
    from (select distinct person from twin_people) as p
    left join twin_told as t on p.person = t.person
    left join policy.jurisdictions as j on t.jurisdiction = j.code
    group by p.person;

    create or replace table twin_held as
    with blocked as (
        select controller, token from ledger.statuses
        where status in ('erased', 'restricted', 'legal_hold') group by controller, token having bool_and(state = 'on')
    ),
    minors as (
        select controller, token, max(minor_until) > (select as_of from meta.builds) as is_minor
        from ledger.ages group by controller, token
    )
    select
        i.controller, p.person, bool_and(b.token is not null) as is_blocked,
        bool_and(coalesce(m.is_minor, false))
            and p.person not in (select person from twin_told where coalesce(is_guardian, true)) as is_minor
    from twin_identifiers as i
    inner join twin_people as p on i.token = p.token
    left join blocked as b on i.controller = b.controller and i.token = b.token
    left join minors as m on i.controller = m.controller and i.token = m.token
    where i.controller is not null
    group by i.controller, p.person
"""

# Whatever may permit a category of data: a grant that may be admissible, a fact of a contract, an opt-out regime in
# which silence permits. What a grant leaves out is the narrowest: no sensitive data, no other recipient.
_GRANTS = """
    create or replace table twin_pairs as select controller, purpose, category, recipient,
        needs_separate from policy.scopes;

    create or replace table twin_permits as
    with noticed as (
        select n.notice_id, n.version, n.purpose, n.published_at, min(r.published_at) as superseded_at
        from policy.notices as n
        left join policy.notices as r
            on n.notice_id = r.notice_id and r.renews_consent and r.published_at > n.published_at
        group by all
    ),
    asked as (
        select u.*, coalesce(b.is_separate, false) as is_separate
        from policy.purposes as u
        left join (
            select purpose, bool_and(basis in ('separate_consent', 'none')) as is_separate
            from policy.purpose_basis group by purpose
        ) as b on u.purpose = b.purpose
    )
    select
        r.controller, r.purpose, r.category, t.person, t.token, t.effective_at,
        coalesce(t.valid_until <= b.as_of, false)
            or coalesce(t.effective_at + to_days(u.max_consent_age_days::integer) <= b.as_of, false)
            or coalesce(n.superseded_at <= b.as_of, false) as is_ended
    from meta.builds as b, twin_pairs as r
    inner join asked as u on r.purpose = u.purpose
    inner join twin_told as t
        on r.controller = t.controller and (r.purpose = t.purpose or t.purpose is null) and t.grants
        and (t.category = r.category or (t.category is null and r.category <> 'sensitive'))
        and (t.recipient = r.recipient or (t.recipient is null and r.recipient = 'own'))
    left join policy.methods as m on t.method = m.method
    left join noticed as n on t.notice_id = n.notice_id and t.notice_version = n.version and r.purpose = n.purpose
    where t.effective_at <= b.as_of
        and (not u.is_explicit or coalesce(m.is_explicit, false))
        and (not (u.is_separate or r.needs_separate) or coalesce(t.is_separate, false))
        and n.published_at <= t.effective_at
        and coalesce(n.superseded_at > t.effective_at, true)
        and coalesce(t.valid_until > t.effective_at, true)
    union all
    select r.controller, r.purpose, r.category, p.person, null, c.effective_at,
        coalesce(c.valid_until <= b.as_of, false)
    from meta.builds as b, twin_pairs as r
    inner join policy.purpose_contract_facts as f on r.purpose = f.purpose
    inner join ledger.contracts as c on r.controller = c.controller and f.fact = c.fact
    inner join twin_people as p on c.token = p.token
    where c.effective_at <= b.as_of and coalesce(c.valid_until > c.effective_at, true)
    union all
    select distinct r.controller, r.purpose, r.category, t.person, 'opt-out', timestamp '-infinity', false
    from twin_pairs as r
    inner join policy.purpose_basis as s on r.purpose = s.purpose and s.basis = 'opt_out'
    inner join policy.jurisdictions as j on s.regime = j.regime
    inner join twin_told as t on j.code = t.jurisdiction
    where not r.needs_separate
"""

# A refusal ends what an identifier granted where it is the identifier's own, whole, and nothing was granted since; the
# silence of an opt-out regime where each identifier refused and none ever granted. `twin_records`: of whom there is
# anything that could permit.
_STATES = """
    create or replace table twin_states as
    with refusals as (
        select r.controller, r.purpose, r.category, t.person, t.token, max(least(t.effective_at, b.as_of)) as refused_at
        from meta.builds as b, twin_pairs as r
        inner join twin_told as t
            on r.controller = t.controller and (r.purpose = t.purpose or t.purpose is null) and not t.grants
        where (t.category is null or t.category = r.category) and t.channel is null
            and (t.recipient is null or t.purpose is not null)
        group by all
    ),
    last_grants as (
        select r.controller, r.purpose, r.category, t.person, max(t.effective_at) as granted_at
        from twin_pairs as r
        inner join twin_told as t
            on r.controller = t.controller and (r.purpose = t.purpose or t.purpose is null) and t.grants
        group by all
    ),
    silenced as (
        select r.controller, r.purpose, r.category, p.person
        from twin_pairs as r
        inner join twin_identifiers as i on r.controller = i.controller
        inner join twin_people as p on i.token = p.token
        left join refusals as f
            on r.controller = f.controller and r.purpose = f.purpose and r.category = f.category and i.token = f.token
        left join last_grants as g
            on r.controller = g.controller and r.purpose = g.purpose and r.category = g.category and p.person = g.person
        group by all
        having bool_and(f.token is not null and g.person is null)
    )
    select
        m.controller, m.purpose, m.category, m.person, min(m.effective_at) as permit_from,
        bool_or(not m.is_ended and case
            when m.token is null then true
            when m.token = 'opt-out' then s.person is null
            else coalesce(f.refused_at < g.granted_at, true)
        end) and not bool_or(coalesce(h.is_blocked, false)) as is_in_force
    from twin_permits as m
    left join refusals as f
        on m.controller = f.controller and m.purpose = f.purpose and m.category = f.category and m.token = f.token
    left join last_grants as g
        on m.controller = g.controller and m.purpose = g.purpose and m.category = g.category and m.person = g.person
    left join silenced as s
        on m.controller = s.controller and m.purpose = s.purpose and m.category = s.category and m.person = s.person
    left join twin_held as h on m.controller = h.controller and m.person = h.person
    where not coalesce(h.is_minor, false)
    group by m.controller, m.purpose, m.category, m.person;

    create or replace table twin_records as
    select distinct r.controller, r.purpose, t.person
    from twin_pairs as r
    inner join twin_told as t on r.controller = t.controller
        and (r.purpose = t.purpose or t.purpose is null) and t.grants
    union
    select controller, purpose, person from twin_permits where token = 'opt-out'
    union
    select r.controller, r.purpose, p.person
    from twin_pairs as r
    inner join policy.purpose_contract_facts as f on r.purpose = f.purpose
    inner join ledger.contracts as c on r.controller = c.controller and f.fact = c.fact
    inner join twin_people as p on c.token = p.token
"""


def _touches(world: World, policy: Policy, place: str) -> str:
    names = world.columns(f"lake.{place}")
    texts = [f't."{name}"' for name, kind in names.items() if kind == "VARCHAR" and not name.endswith("_token")]
    rules = policy.minimisation.sensitive_values
    listed = [is_listed(f't."{rule.field}"', rule.value) for rule in rules if rule.field in names]
    maybe = [is_listed(column, rule.value) for rule in rules for column in texts]
    return f"""
        select {text(place)} as place, t.rowid as row_id, t.controller, coalesce(p.person, -1) as person,
            t.occurred_at, e.category,
            coalesce({" or ".join(maybe) or "false"}, false) as may_be_sensitive,
            coalesce({" or ".join(listed) or "false"}, false) as is_sensitive, coalesce(r.regime, 'nobody') as regime
        from lake."{place}" as t
        left join policy.events as e on t.source = e.source and t.raw_event = e.raw_event
        left join twin_people as p on t.subject_token = p.token
        left join twin_regimes as r on p.person = r.person
    """


def is_listed(column: str, value: str) -> str:
    """SQL: does the column hold what policy lists as sensitive?"""
    return f"starts_with({column}, {text(value[:-1])})" if value.endswith("*") else f"{column} = {text(value)}"


def tell_forbidden(con: duckdb.DuckDBPyConnection, audience: Audience) -> None:
    """Makes `twin_forbidden`: each touchpoint with what is wrong with it for this audience (`kind`, else null)."""
    con.execute(
        _FORBIDDEN,
        {"controller": audience.controller, "purpose": audience.purpose, "reads_sensitive": audience.reads_sensitive},
    )


# The stages to which a person had not agreed by then, or does not any more. And a touchpoint with what it is, and one
# that may be sensitive with that too: what permits either permits it.
_STAGES = """
    create or replace table twin_agreed as
    select controller, purpose, person, min(permit_from) as permit_from, bool_or(is_in_force) as is_in_force
    from twin_states group by controller, purpose, person;

    create or replace table twin_unstaged as
    select t.place, t.row_id, list(g.stage order by g.stage) as stages
    from twin_touches as t
    cross join policy.stages as g
    left join twin_agreed as s on t.person = s.person and t.controller = s.controller and g.purpose = s.purpose
    where g.purpose is not null and (not coalesce(s.is_in_force, false) or t.occurred_at < s.permit_from)
    group by t.place, t.row_id;

    create or replace table twin_aspects as
    select place, row_id, person, occurred_at, category from twin_touches
    union all
    select place, row_id, person, occurred_at, 'sensitive' as category from twin_touches where may_be_sensitive
"""

_FORBIDDEN = """
    create or replace temp table twin_forbidden as
    with listed as (
        select category, case when bool_and(retention_days is not null) then max(retention_days) end as days
        from policy.scopes where controller = $controller and purpose = $purpose group by category
    ),
    people as (
        select r.person, coalesce(a.is_in_force, false) as is_in_force
        from twin_records as r
        left join twin_agreed as a on r.person = a.person and r.controller = a.controller and r.purpose = a.purpose
        where r.controller = $controller and r.purpose = $purpose
    ),
    judged as (
        select
            a.place, a.row_id,
            bool_or(l.category is not null) as is_listed,
            bool_and(l.category is null or not coalesce(s.is_in_force, false)) as is_ended,
            bool_and(
                l.category is null or not coalesce(s.is_in_force, false) or a.occurred_at < s.permit_from
            ) as is_before,
            bool_and(
                l.category is null or coalesce(a.occurred_at < b.as_of - to_days(l.days::integer), false)
            ) as is_old
        from meta.builds as b, twin_aspects as a
        left join listed as l on a.category = l.category
        left join twin_states as s
            on a.person = s.person and a.category = s.category and s.controller = $controller and s.purpose = $purpose
        group by a.place, a.row_id
    )
    select
        t.place, t.row_id, t.person, t.regime, u.stages as unstaged, t.controller = $controller as is_here,
        case
            when t.controller is distinct from $controller then 'elsewhere'
            when p.person is null then 'stranger'
            when not p.is_in_force then 'ended'
            when not j.is_listed then 'unlisted'
            when j.is_ended then 'withheld'
            when j.is_before then 'before'
            when j.is_old then 'old'
            when t.is_sensitive and not $reads_sensitive then 'sensitive'
        end as kind
    from twin_touches as t
    inner join judged as j on t.place = j.place and t.row_id = j.row_id
    left join people as p on t.person = p.person
    left join twin_unstaged as u on t.place = u.place and t.row_id = u.row_id
"""
