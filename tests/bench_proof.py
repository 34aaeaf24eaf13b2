"""CPU time of the static proof for projects of 125, 250 and 500 generated models, and how it grows. Not here: checks.

The models are segments of six shapes, and models behind the gate that they read; the union of all segments is among
them, as exports read it. Goal: linear, and at most 20 ms for each model."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy, Segment
from orchestration.proof.static import prove_statically
from orchestration.proof.verdict import are_proved
from tests.proof_world import MART, NOW, TOUCHPOINTS, project

GOAL_MS = 20
SIZES = (125, 250, 500)
_DAYS = "date_diff('day', max(occurred_at), (select b.as_of from meta.builds as b))"
PEOPLE = (
    "select person_key, count(*) as touches from {touchpoints} group by person_key having touches >= {n}",
    "select person_key, sum(amount) as spend from {touchpoints} where event = 'purchase' and amount > {n}"
    " group by person_key having spend >= 3000",
    f"select person_key, {_DAYS} as days from {{touchpoints}} group by person_key having days >= {{n}}",
    """select person_key from (
        select *, row_number() over (partition by person_key order by occurred_at desc, touchpoint_key) as place,
            lag(event) over (partition by person_key order by occurred_at, touchpoint_key) as before,
            sum(amount) over (partition by person_key) as spend
        from {touchpoints}
    ) where place = 1 and before = 'consult' and spend > {n}""",
    """select t.person_key from {touchpoints} as t
    left join {touchpoints} as o on t.person_key = o.person_key and o.event = 'return' and o.occurred_at > t.occurred_at
    where t.event = 'purchase' and o.person_key is null and t.amount > {n}
    group by t.person_key""",
    """select person_key from {touchpoints} where event in ('consult', 'click') and amount > {n}
    union
    select person_key from {touchpoints} where item like 'a%' and exists (
        select 1 from {touchpoints} as o where o.item = 'b' and o.amount > {n}
    )""",
)
MEMBERS = """select k.audience_key, a.admitted_by, a.notice, a.consent_until
from people as p
inner join intermediate.int_segment_people_permitted as a on p.person_key = a.person_key and a.segment = '{name}'
inner join intermediate.int_audience_keys as k on p.person_key = k.person_key and k.purpose = 'sms_marketing'
"""
BEHIND = """with touchpoints as (select * from intermediate.int_touchpoints_gated_by_purpose),
ranked as (
    select *, dense_rank() over (partition by person_key, purpose, controller order by occurred_at) as visit
    from touchpoints
)
select r.*, case when r.visit = 1 then 'first' when r.amount > {n} then 'big' else 'other' end as kind
from ranked as r"""
EXPORTED = "intermediate.int_activations_decided"


def models(size: int) -> dict[str, str]:
    """`size` generated models: four segments for each model behind the gate."""
    made: dict[str, str] = {}
    for number in range(size):
        behind = f"intermediate.int_behind_{number // 5}"
        if number % 5 == 0:
            made[behind] = BEHIND.format(n=number)
            continue
        touchpoints = (
            TOUCHPOINTS if number % 2 else TOUCHPOINTS.replace("int_touchpoints_gated_by_purpose", behind[13:])
        )
        people = PEOPLE[number % len(PEOPLE)].format(touchpoints=touchpoints, n=number)
        made[f"marts.s{number}"] = f"with people as ({people})\n{MEMBERS.format(name=f's{number}')}"
    marts = [name.partition(".")[2] for name in made if name.startswith("marts.")]
    members = " union all ".join(f"select '{name}' as segment, * from marts.{name}" for name in marts)
    made[EXPORTED] = f"""with members as ({members}),
        contacts as (select left(i.group_token, 32) as person_key, i.token from identity.identifiers as i)
        select d.segment, s.destination, d.person_key, k.audience_key, c.token as contact_token, m.admitted_by,
            m.notice, m.consent_until
        from intermediate.int_segment_people_considered as d
        inner join intermediate.int_audience_keys as k on d.person_key = k.person_key and d.purpose = k.purpose
        inner join members as m on d.segment = m.segment and k.audience_key = m.audience_key
        inner join policy.segment_destinations as s on d.segment = s.segment
        left join contacts as c on d.person_key = c.person_key"""
    return made


def policy_of(made: Sequence[str]) -> Policy:
    """The shipped policy, with the generated segments only, and the reviews of relations that are there."""
    policy = load_policy()
    like = next(s for s in policy.segments.segments if s.name == MART.partition(".")[2])
    names = [name.partition(".")[2] for name in made if name.startswith("marts.")]
    segments: tuple[Segment, ...] = tuple(like.model_copy(update={"name": name}) for name in names)
    return policy.model_copy(update={"segments": policy.segments.model_copy(update={"segments": segments})})


def measured(size: int, best_of: int) -> tuple[float, int, bool]:
    """CPU seconds of the proof, the models it read, and whether it proved what exports and segments owe."""
    made = models(size)
    policy, whole = policy_of(list(made)), project(made)
    seconds = []
    for _ in range(best_of):
        start = time.process_time()
        found = prove_statically(whole, policy, as_of=NOW)
        seconds.append(time.process_time() - start)
    exposed = [verdict for verdict in found if verdict.relation in made]
    return min(seconds), len(whole.models), are_proved(exposed)


@click.command()
@click.option("--best-of", default=3, show_default=True)
@click.option("--sizes", default=",".join(map(str, SIZES)), show_default=True, help="Generated models, by commas.")
def main(best_of: int, sizes: str) -> None:
    click.echo("models  CPU s  ms/model  proved")
    for size in map(int, sizes.split(",")):
        seconds, count, is_proved = measured(size, best_of)
        click.echo(f"{count:6}  {seconds:5.2f}  {seconds / count * 1000:8.2f}  {'yes' if is_proved else 'NO'}")
    click.echo(f"goal: at most {GOAL_MS} ms/model, and the same for each size")


if __name__ == "__main__":
    main()
