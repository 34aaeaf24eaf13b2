"""Twins that differ in what may only take people away, or only in how to contact people on a channel that they left
out.

The first are compared one way: nobody may be gained by a denial, or by a link to an identifier that carries nothing
else. Not here: what may not be seen at all (`changes.py`)."""

from __future__ import annotations

from collections.abc import Collection

from orchestration.ingestion.quoting import ident, text
from orchestration.policy.schema import Policy
from orchestration.proof.twins.alternatives import Alternatives, Words
from orchestration.proof.twins.changes import Change
from orchestration.proof.twins.forbidden import Audience
from orchestration.proof.twins.sample import staged_tables
from orchestration.proof.twins.world import DERIVED, World, quoted

DENIALS = (
    Change("denial", "added", "ledger.consent_events"),
    Change("denial", "added", "identity.links"),
    Change("denial", "added", "lake"),
)
_ACTIVITY = {"activity.contact_points": ("kind", "issuer"), "activity.deliveries": ("delivered_at",)}
_PERMISSIONS = {
    "ledger.permissions": ("seq", "channel", "fact", "state", "effective_at", "recorded_at")
}  # who it names stays


def deny(policy: Policy, twin: World, changes: Collection[Change], people: Collection[int] | None = None) -> None:
    """Fills the twin: half of the people say no once more; some by an identifier that a touchpoint linked to
    theirs."""
    con, base = twin.con, twin.origin
    base.use()
    within = "true" if people is None else f"person in ({', '.join(map(str, sorted(people))) or 'null'})"
    con.execute(f"""
        create or replace temp table twin_denied as
        with renewed as (
            select person, controller, max(renewed_at) as renewed_at
            from (
                select person, controller, max(effective_at) as renewed_at
                from twin_told
                where grants
                group by person, controller, purpose
                having count(distinct effective_at) > 1
            )
            group by person, controller
        ),

        chosen as (
            select i.controller, i.token, i.kind, i.issuer, p.person, twin_token('linked' || i.token
                || i.controller) as linked,
                -- a no that a later yes follows hides what lies between, and nobody may be thought idle for that
                r.renewed_at - to_days((1 + twin_u('gap' || p.person) * 45)::integer) as before_renewal
            from twin_identifiers as i
            inner join twin_people as p on i.token = p.token and {within}
            left join renewed as r on p.person = r.person and i.controller = r.controller
            where i.controller is not null and twin_u('denied' || p.person) < 0.5
            qualify row_number() over (
                partition by p.person, i.controller order by twin_u('denies' || i.token), i.token
            ) = 1
        )
        select *, twin_pick((select list({{'kind': kind, 'issuer': issuer}} order by kind, issuer)
            from twin_kinds), 'kind' || linked) as link
        from chosen
    """)
    said = """
        case when before_renewal is null then twin_pick(
            (select list(purpose order by purpose) || [null] from policy.purposes), 'purpose' || {token}
        ) end as purpose,
        twin_pick((select list(decision order by decision) from policy.decisions where restricts), 'no'
            || {token}) as decision,
        twin_pick((select list(code order by code) || [null] from policy.jurisdictions), 'where'
            || {token}) as jurisdiction,
        coalesce(before_renewal, twin_ago('denied' || {token}, 300)) as effective_at,
        coalesce(before_renewal, twin_ago('denied' || {token}, 300)) as recorded_at, 'invented' as feed,
        8000000000 + row_number() over (order by {token}) as seq
    """
    is_linked = Change("denial", "added", "identity.links") in changes
    added = {
        "ledger.consent_events": [
            f"select controller, token, kind, issuer, {said.format(token='token')} from twin_denied"
        ],
        "identity.links": [
            "select controller, token as token_a, kind as kind_a, issuer as "
            "issuer_a, linked as token_b, link.kind as kind_b, "
            "link.issuer as issuer_b, 'login' as method, false as is_unlink, "
            "twin_ago('link' || linked, 300) as effective_at, "
            "twin_ago('link' || linked, 300) as recorded_at from twin_denied"
        ],
    }
    if is_linked:
        added["ledger.consent_events"].append(
            "select controller, linked as token, link.kind as kind, link.issuer as "
            f"issuer, {said.format(token='linked')} from twin_denied"
        )
    for source in policy.sources.sources:  # the touchpoint that shows the link: nothing of it may be used
        added[f"lake.{source.name}"] = [
            f"select twin_token('shows' || linked) as touchpoint_key, {text(source.name)} as source, controller, "
            "linked as subject_token, link.kind as subject_kind, link.issuer as "
            "subject_issuer, 'not in policy' as raw_event, "
            "twin_ago('shown' || linked, 300) as occurred_at from twin_denied"
        ]
    tables = {change.table for change in changes}
    wanted = {table for table in added if table in tables or (table.startswith("lake.") and "lake" in tables)}
    for table in staged_tables(policy):
        if table in wanted:
            parts = " union all by name ".join([f"select * from {quoted(base.name, table)}", *added[table]])
            twin.write(table, parts)
        elif table not in DERIVED:
            twin.share(table)


def contact_changes(base: World) -> list[Change]:
    """Everything about how somebody is reached."""
    return [
        *(Change("contact", "removed", table) for table in _ACTIVITY),
        *(
            Change("contact", "changed", table, column)
            for table, names in (_ACTIVITY | _PERMISSIONS).items()
            for column in base.columns(table)
            if column in names
        ),
    ]


def leave_out(
    words: tuple[Policy, Words],
    asked: Collection[Audience],
    channel: str,
    twin: World,
    changes: Collection[Change],
    people: Collection[int] | None = None,
) -> None:
    """Fills the twin: of people none of whose grants to these audiences covers the channel, how they are reached on
    it."""
    con, base, (policy, known) = twin.con, twin.origin, words
    base.use()
    pairs = " union all ".join(
        f"select {text(a.controller)} as controller, {text(a.purpose)} as purpose" for a in asked
    )
    within = "true" if people is None else f"person in ({', '.join(map(str, sorted(people))) or 'null'})"
    con.execute(f"""
        create or replace temp table twin_unreached as
        with asked as ({pairs})
        select token from twin_people where {within} and person not in (
            select t.person from twin_told as t
            inner join asked as a on t.controller = a.controller and (t.purpose = a.purpose or t.purpose is null)
            where t.grants and (t.channel is null or t.channel = {text(channel)})
            union all
            select m.person from twin_permits as m inner join asked as a on m.controller = a.controller
                and m.purpose = a.purpose
            where m.token is null or m.token = 'opt-out'
        )
    """)
    here = {
        "activity.contact_points": "kind in (select kind from policy.identifier_channels where channel = "
        f"{text(channel)})",
        "activity.deliveries": "destination in (select destination from policy.destinations where "
        f"channel = {text(channel)})",
        "ledger.permissions": f"channel = {text(channel)}",
    }
    for table in staged_tables(policy):
        chosen = {change for change in changes if change.table == table}
        if chosen:
            twin.write(table, _reached(base, policy, known, asked, table, here[table], chosen))
        elif table not in DERIVED:
            twin.share(table)


def _reached(
    base: World, policy: Policy, words: Words, asked: Collection[Audience], table: str, here: str, chosen: set[Change]
) -> str:
    alternatives = Alternatives(policy, min(asked, key=lambda audience: audience.name), table, words)
    values = []
    for column, sql_type in base.columns(table).items():
        other = alternatives.changed("stranger", column, sql_type)
        is_chosen = Change("contact", "changed", table, column) in chosen
        values.append(
            f"case when twin_left then {other} else {ident(column)} end as {ident(column)}"
            if is_chosen
            else ident(column)
        )
    lost = Change("contact", "removed", table) in chosen
    removed = "twin_left and twin_u('fate' || twin_what) < 0.34" if lost else "false"
    return f"""
        with judged as (
            select *, {text(table)} || rowid as twin_what, {here} and token in (select token
                from twin_unreached) as twin_left
            from {quoted(base.name, table)}
        )
        select {", ".join(values)} from judged as t where not coalesce({removed}, false)
    """
