# ruff: noqa: E501 - each case is one line, however long the SQL in it
"""The static proof on a small project: what is sound is proved, and each way past the gate is refused in words."""

from __future__ import annotations

import pytest

from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from tests.proof_world import ENGAGED, MART, MEMBERS, MODELS, TOUCHPOINTS, prove

MASKED = "intermediate.int_touchpoints_masked"
GATED = "intermediate.int_touchpoints_gated"
BY_PURPOSE = "intermediate.int_touchpoints_gated_by_purpose"
TIMELINES = "intermediate.int_timelines"
BY_IDENTIFIER = "intermediate.int_timelines_by_identifier"
KEPT = "intermediate.int_masks_kept"
IN_STORE = "staging.stg_in_store__touchpoints"
PEOPLE = "with people as (select person_key from {source} group by person_key)\n" + MEMBERS
SINCE = "occurred_at >= (select b.as_of from meta.builds as b) - to_days(30)"


BIRTHDAY = {IN_STORE: MODELS[IN_STORE].replace("store, amount", "store, birthday_month_of_year as amount")}


def replaced(model: str, *pairs: tuple[str, str]) -> dict[str, str]:
    sql = MODELS[model]
    for old, new in pairs:
        assert old in sql
        sql = sql.replace(old, new)
    return {model: sql}


def test_static_proof_holds_for_a_sound_segment() -> None:
    found = prove()
    assert found.is_proved, found.failures
    assert found.purpose == "sms_marketing"
    assert found.obligations > 40


@pytest.mark.parametrize(
    ("models", "says"),
    [
        # the gate
        (replaced(GATED, ("permitted_mask <> 0 and ", "")) | replaced(BY_PURPOSE, (" and (t.permitted_mask & s.scope_mask) <> 0", "")), "without a permit"),
        (replaced(BY_PURPOSE, (" and (t.permitted_mask & s.scope_mask) <> 0", "")), "of whatever purpose"),
        (replaced(BY_PURPOSE, ("inner join policy", "left join policy")) | replaced(GATED, ("permitted_mask <> 0 and ", "")), ""),
        (replaced(BY_PURPOSE, ("<> 0", "is not null")), "of whatever purpose"),
        (replaced(BY_PURPOSE, ("t.permitted_mask & s.scope_mask", "t.permitted_mask | s.scope_mask")), "of whatever purpose"),
        (replaced(MASKED, ("l.mask_then & k.mask_kept", "l.mask_then | k.mask_kept")), "without a permit"),
        (replaced(MASKED, ("l.mask_then & k.mask_kept, 0", "l.mask_then & k.mask_kept, -1")), "without a permit"),
        (replaced(MASKED, ("l.mask_then & k.mask_kept", "l.mask_then")), "without a permit"),
        (replaced(MASKED, ("l.mask_then & k.mask_kept", "k.mask_kept")), "without a permit"),
        (replaced(MASKED, ("coalesce(l.mask_then & k.mask_kept, 0)", "-1")), "without a permit"),
        (replaced(MASKED, (" and t.subject_token = l.token", "")), "without a permit"),
        (replaced(MASKED, ("t.subject_token = l.token", "t.touchpoint_key = l.token")), "without a permit"),
        (replaced(MASKED, ("l.t0 <= t.occurred_at and ", "")), "without a permit"),
        (replaced(MASKED, ("t.occurred_at < l.t1", "true")), "without a permit"),
        (replaced(MASKED, (" and t.category = k.category", "")), "without a permit"),
        (replaced(MASKED, ("k.kept_from <= t.occurred_at and ", "")), "without a permit"),
        (replaced(BY_IDENTIFIER, (" on i.identifier_id = l.unit_id", " on true")), "without a permit"),
        (replaced(TIMELINES, ("where i.reason is null", "")), "without a permit"),
        (replaced(TIMELINES, ("where reason is null and t0", "where t0")), "without a permit"),
        (replaced(TIMELINES, ("and (select b.as_of from meta.builds as b) < t1", "")), "without a permit"),
        (replaced(TIMELINES, ("inner join in_force", "left join in_force")), "without a permit"),
        (replaced(TIMELINES, (" and i.scope_bit = f.scope_bit", "")), "without a permit"),
        (replaced(TIMELINES, ("on i.scope_bit = s.scope_bit", "on true")), "without a permit"),
        (replaced(TIMELINES, ("partition by unit_id ", "")), "without a permit"),
        (replaced(TIMELINES, ("partition by unit_id ", "partition by 1 ")), "without a permit"),
        (replaced(KEPT, (" and s.retention_days >= a.retention_days", "")), "without a permit"),
        (replaced("staging.stg_web__touchpoints", ("subject_token,", "account_id_token as subject_token,")), "without a permit"),
        # a segment's own SQL
        ({MART: ENGAGED.replace("purpose = 'sms_marketing' and c", "c")}, "of whatever purpose"),
        ({MART: ENGAGED.replace("purpose = 'sms_marketing' and c", "purpose = 'email_marketing' and c")}, "for purpose email_marketing"),
        ({MART: ENGAGED.replace("purpose = 'sms_marketing' and c", "purpose in ('sms_marketing', 'email_marketing') and c")}, "whatever purpose"),
        ({MART: ENGAGED.replace("purpose = 'sms_marketing' and c", "(purpose = 'sms_marketing' or item = 'x') and c")}, "whatever purpose"),
        ({MART: ENGAGED.replace("controller = 'shop'", "true")}, "of whatever controller"),
        ({MART: ENGAGED.replace("controller = 'shop'", "controller = 'clinic'")}, "for controller clinic"),
        ({MART: ENGAGED.replace("and category <> 'sensitive'", "")}, "sensitive touchpoints"),
        ({MART: PEOPLE.format(source=GATED)}, "of whatever purpose"),
        ({MART: PEOPLE.format(source=MASKED)}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select person_key from {TOUCHPOINTS} union all select person_key from {MASKED})")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select person_key from {TOUCHPOINTS} union select person_key from intermediate.int_audience_keys)")}, "no permitted touchpoint brought"),
        ({MART: PEOPLE.format(source=f"(select t.* from {TOUCHPOINTS} as t where exists (select 1 from {MASKED} as m where m.person_key = t.person_key and m.item = 'x'))")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select t.* from {TOUCHPOINTS} as t where t.person_key not in (select m.person_key from {MASKED} as m))")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select t.* from {TOUCHPOINTS} as t left join {MASKED} as m on t.person_key = m.person_key)")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select t.* from {TOUCHPOINTS} as t cross join (select avg(amount) as average from {MASKED}) as a where t.amount > a.average)")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select * from {TOUCHPOINTS} where amount > (select avg(amount) from {MASKED}))")}, "without a permit"),
        ({MART: PEOPLE.format(source="""(
            select g.* from (
                select *, row_number() over (partition by person_key order by occurred_at desc) as place
                from intermediate.int_touchpoints_masked
            ) as g inner join policy.scopes as s on g.controller = s.controller and g.category = s.category
                and (g.permitted_mask & s.scope_mask) <> 0
            where place = 1 and s.purpose = 'sms_marketing' and s.controller = 'shop' and s.category <> 'sensitive' and {SINCE})""".replace("{SINCE}", SINCE))}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select t.* from {TOUCHPOINTS} as t where (t.person_key, t.amount) in (select o.person_key, (select avg(m.amount) from {MASKED} as m) from {TOUCHPOINTS} as o))")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select t.* from {TOUCHPOINTS} as t inner join ledger.consent_events as e on e.token = t.person_key)")}, "outside the gate"),
        ({MART: PEOPLE.format(source=f"(select t.* from {TOUCHPOINTS} as t where t.unit_id in (select i.identifier_id from identity.identifiers as i where i.is_strong))")}, "outside the gate"),
        # what cuts, orders or frames rows
        ({MART: PEOPLE.format(source=f"(select * from {TOUCHPOINTS} limit (select count(*) from {MASKED} as m where m.item = 'x'))")}, "query or column in LIMIT"),
        ({MART: PEOPLE.format(source=f"(select * from {TOUCHPOINTS} limit 10 offset (select count(*) from {MASKED} as m where m.item = 'x'))")}, "query or column in OFFSET"),
        ({MART: PEOPLE.format(source=f"(select * from (select t.* from {TOUCHPOINTS} as t order by (select count(*) from {MASKED} as m where m.person_key = t.person_key)) limit 10)")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select person_key from (select person_key from {TOUCHPOINTS} as g group by person_key order by (select count(*) from {MASKED} as m where m.person_key = g.person_key)) limit 5)")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"(select person_key from (select t.person_key, sum(1) over (partition by t.person_key order by t.occurred_at rows between (select count(*) from {MASKED} as m) preceding and current row) as s from {TOUCHPOINTS} as t) where s > 3)")}, "in a window's frame"),
        (replaced(TIMELINES, ("order by changed_at)", "order by changed_at desc)")), "without a permit"),
        (replaced(TIMELINES, ("order by changed_at)", "order by 1)")), "without a permit"),
        (replaced(TIMELINES, ("order by changed_at)", "order by changed_at rows between current row and unbounded following)")), "without a permit"),
        # rows that may not be there
        ({MART: PEOPLE.format(source=f"""(
            select c.person_key from {TOUCHPOINTS} as c left join (
                select t.person_key, t.item from {GATED} as t
                inner join policy.scopes as s on (t.permitted_mask & s.scope_mask) <> 0 and s.controller = 'shop' and s.category <> 'sensitive'
                left join policy.purposes as p on p.purpose = s.purpose and s.purpose = 'sms_marketing' where t.{SINCE}
            ) as q on c.person_key = q.person_key where q.item = 'x')""")}, "of whatever purpose"),
        ({MART: PEOPLE.format(source=f"""(
            select c.person_key from {MASKED} as t
            left join policy.scopes as s on (t.permitted_mask & s.scope_mask) <> 0 and s.purpose = 'sms_marketing' and s.controller = 'shop' and s.category <> 'sensitive' and t.{SINCE}
            right join {TOUCHPOINTS} as c on t.person_key = c.person_key where t.item = 'x')""")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"""(
            select t.person_key from {MASKED} as t
            left join policy.scopes as s on t.controller = s.controller and t.category = s.category and s.purpose = 'sms_marketing' and s.controller = 'shop' and s.category <> 'sensitive'
            where (t.permitted_mask & coalesce(s.scope_mask, 0)) = coalesce(s.scope_mask, 0) and t.{SINCE})""")}, "without a permit"),
        ({MART: PEOPLE.format(source=f"""(
            select t.person_key from {MASKED} as t
            inner join policy.scopes as s on s.purpose = 'sms_marketing' and s.controller = 'shop' and s.category <> 'sensitive'
            where (t.permitted_mask & s.scope_mask) = (s.scope_mask & 0) and t.{SINCE})""")}, "without a permit"),
        # staging chooses nothing
        ({IN_STORE: MODELS[IN_STORE] + " where birthday_month_of_year = 3"}, "chooses among touchpoints"),
        ({IN_STORE: MODELS[IN_STORE].replace("item,", "case when birthday_month_of_year = 3 then 'a' else 'b' end as item,")}, "chooses item by a condition"),
        ({IN_STORE: MODELS[IN_STORE] + " limit (select count(*) from lake.web)"}, "query or column in LIMIT"),
        (BIRTHDAY | {MART: PEOPLE.format(source=f"(select t.person_key from {TOUCHPOINTS} as t, (values (t.amount), (t.amount)) as v (c) where v.c = 3)")}, "birthday_month_of_year"),
        (BIRTHDAY | {MART: PEOPLE.format(source=f"(select person_key from (select * from (select 1 as c) as a right join (select person_key, amount as c from {TOUCHPOINTS}) as b using (c)) where c = 3)")}, "birthday_month_of_year"),
        ({MART: ENGAGED.replace("a.notice,", "v.c as notice,").rstrip() + ", (values (p.person_key), (p.person_key)) as v (c)"}, "known across purposes"),
        ({MART: ENGAGED.replace("a.notice,", "a.notice.concat(p.person_key) as notice,")}, "`identifier`"),
        # what was reviewed
        ({MART: ENGAGED.replace("inner join intermediate.int_segment_people_permitted", "left join intermediate.int_segment_people_permitted")}, "does not admit"),
        ({MART: ENGAGED.replace("a.segment = 'wechat_engaged'", "a.segment = 'follow_up'")}, "not held to its own segment"),
        ({MART: ENGAGED.replace(" and a.segment = 'wechat_engaged'", "")}, "not held to its own segment"),
        ({MART: ENGAGED.replace("on p.person_key = a.person_key and", "on")}, "without its person_key"),
        ({MART: ENGAGED.replace("k.purpose = 'sms_marketing'", "k.purpose = 'email_marketing'")}, "not held to its own purpose"),
        ({MART: ENGAGED.replace("k.audience_key,", "k.person_key as audience_key,")}, "shows person_key of int_audience_keys"),
        ({MART: ENGAGED.replace("a.admitted_by,", "case when a.person_key > 'm' then 1 end as admitted_by,")}, "shows person_key"),
        ({MART: ENGAGED.replace("a.admitted_by,", "(select count(*) from intermediate.int_segment_people_permitted) as admitted_by,")}, "counts or ranks"),
        # columns
        ({MART: ENGAGED.replace("a.admitted_by,", "p.touches as admitted_by, p.person_key,")}, "does not declare it"),
        ({MART: ENGAGED.replace("a.notice,", "p.person_key as notice,")}, "known across purposes"),
        ({MART: ENGAGED.replace("a.notice,", "a.notice || p.person_key as notice,")}, "known across purposes"),
        ({MART: ENGAGED.replace("a.notice,", "{'n': a.notice, 'p': p.person_key} as notice,")}, "known across purposes"),
        ({MART: ENGAGED.replace("a.notice,", "json_object('p', p.person_key) as notice,")}, "known across purposes"),
        ({MART: ENGAGED.replace("a.notice,", "to_json(p) as notice,")}, "whole row as a value"),
        ({MART: ENGAGED.replace("count(*) as touches", "count(*) as touches, any_value(touchpoint_key) as t").replace("a.notice,", "p.t as notice,")}, "known across purposes"),
        ({MART: ENGAGED.replace("from intermediate.int_touchpoints_gated_by_purpose", "from other.int_touchpoints_gated_by_purpose")}, "no model or source"),
        ({MART: ENGAGED.replace("count(*)", "my_udf(item)")}, "my_udf()"),
    ],
)  # fmt: skip
def test_static_proof_refuses_each_way_past_the_gate(models: dict[str, str], says: str) -> None:
    found = prove(models)
    assert not found.is_proved
    assert any(says in failure.what or says in failure.remedy for failure in found.failures), found.failures
    for failure in found.failures:
        assert failure.path and failure.remedy


LEFT_OUT = """
    left join intermediate.int_audience_keys as o on p.person_key = o.person_key and o.purpose = '{purpose}'
    left join marts.other as x on o.audience_key = x.audience_key
    inner join intermediate.int_exclusions_proved as n on p.person_key = n.person_key and n.segment = 'wechat_engaged'
    where {condition}
"""
PROVED = {
    "intermediate.int_exclusions_proved": "select segment, person_key from intermediate.int_segment_people_considered"
}


def leaving_out(
    purpose: str, condition: str, *, left_out_for: str = "email_marketing"
) -> tuple[dict[str, str], Policy]:
    """The segment, which leaves out the people of another of `left_out_for`, and its policy."""
    policy = load_policy()
    given = {segment.name: segment for segment in policy.segments.segments}
    other = given["dormant_30"].model_copy(update={"name": "other", "purpose": left_out_for, "absent": None})
    segment = given["wechat_engaged"].model_copy(update={"excludes": ("other",)})
    segments = policy.segments.model_copy(update={"segments": (segment, other)})
    sql = ENGAGED.rstrip() + LEFT_OUT.format(purpose=purpose, condition=condition)
    marts = {"marts.other": ENGAGED.replace("sms_marketing", left_out_for).replace("'wechat_engaged'", "'other'")}
    return {**PROVED, **marts, MART: sql}, policy.model_copy(update={"segments": segments})


def test_static_proof_lets_a_segment_leave_out_people_of_another_purpose() -> None:
    models, policy = leaving_out("email_marketing", "x.audience_key is null")
    found = prove(models, policy=policy)
    assert found.is_proved, [failure.what for failure in found.failures]


@pytest.mark.parametrize(
    ("purpose", "condition", "says"),
    [
        ("email_marketing", "x.audience_key is not null", "by the people of marts.other"),
        ("email_marketing", "true", "its SQL keeps them"),
        ("service", "x.audience_key is null", "not held to its own purpose"),
    ],
)
def test_static_proof_refuses_to_choose_by_people_of_another_purpose(purpose: str, condition: str, says: str) -> None:
    models, policy = leaving_out(purpose, condition)
    found = prove(models, policy=policy)
    assert any(says in failure.what for failure in found.failures), found.failures


def test_static_proof_refuses_a_table_that_no_ref_names() -> None:
    found = prove(unnamed=frozenset({"intermediate.int_audience_keys"}))
    assert any("written as a name" in failure.what for failure in found.failures)


@pytest.mark.parametrize(
    "models",
    [
        {MART: ENGAGED.replace("touchpoints as", "t as").replace("from touchpoints", "from t")},
        {MART: ENGAGED.replace("with touchpoints as (select * from " + TOUCHPOINTS + "),\n", "with ").replace("from touchpoints", f"from {TOUCHPOINTS}")},
        {MART: ENGAGED.replace("count(*)", "count(1)")},
        {MART: ENGAGED.replace("count(*)", "sum(1)")},
        {MART: ENGAGED.replace("purpose = 'sms_marketing' and c", "'sms_marketing' = purpose and c")},
        {MART: ENGAGED.replace("purpose = 'sms_marketing' and c", "purpose in ('sms_marketing') and c")},
        {MART: ENGAGED.replace("purpose = 'sms_marketing' and c", "not (purpose <> 'sms_marketing') and c")},
        {MART: ENGAGED.replace("category <> 'sensitive'", "category in ('behaviour', 'transaction')")},
        {MART: ENGAGED.replace("category <> 'sensitive'", "category not in ('sensitive')")},
        {MART: ENGAGED.replace("on p.person_key = a.person_key and a.segment = 'wechat_engaged'", "using (person_key)").replace("p.person_key = k", "a.person_key = k").strip() + " where a.segment = 'wechat_engaged'"},
        {MART: ENGAGED.replace(" and a.segment = 'wechat_engaged'", "").strip() + " where a.segment = 'wechat_engaged'"},
        {MART: ENGAGED.replace("inner join intermediate.int_segment_people_permitted", "join intermediate.int_segment_people_permitted")},
        {MART: ENGAGED.replace("inner join intermediate.int_segment_people_permitted", "left join intermediate.int_segment_people_permitted").strip() + " where a.person_key is not null"},
        {MART: ENGAGED.replace("group by person_key", "group by 1")},
        {MART: ENGAGED.replace("group by person_key", "group by all")},
        {MART: f"""with people as (
            select distinct t.person_key from {TOUCHPOINTS} as t
            qualify row_number() over (partition by t.person_key order by t.occurred_at) = 1
        ) {MEMBERS}"""},
        {MART: PEOPLE.format(source="""(
            select t.person_key from intermediate.int_touchpoints_gated as t, policy.scopes as s
            where (t.permitted_mask & s.scope_mask) <> 0 and s.purpose = 'sms_marketing' and s.controller = 'shop'
                and s.category <> 'sensitive' and {SINCE})""".replace("{SINCE}", SINCE))},
        {MART: PEOPLE.format(source="""(
            select t.person_key from intermediate.int_touchpoints_masked as t
            where exists (select 1 from policy.scopes as s where (t.permitted_mask & s.scope_mask) > 0
                and s.purpose = 'sms_marketing' and s.controller = 'shop' and s.category <> 'sensitive') and {SINCE})""".replace("{SINCE}", SINCE))},
        {MART: PEOPLE.format(source=f"""(
            select t.person_key from {TOUCHPOINTS} as t
            where t.person_key in (select o.person_key from {TOUCHPOINTS} as o where o.item = 'x'))""")},
        {MART: PEOPLE.format(source=f"""(
            select t.person_key from {TOUCHPOINTS} as t
            left join {TOUCHPOINTS} as o on t.person_key = o.person_key and o.item = 'x' where o.person_key is null)""")},
        {MART: PEOPLE.format(source="""(
            select person_key from (
                select person_key, purpose, controller, category, count(*) as n
                from intermediate.int_touchpoints_gated_by_purpose where {SINCE} group by all
            ) where purpose = 'sms_marketing' and controller = 'shop' and category <> 'sensitive')""".replace("{SINCE}", SINCE))},
        {MART: f"""with people as (select person_key from {TOUCHPOINTS} group by person_key)
            select k.audience_key, a.admitted_by, a.notice, a.consent_until
            from people as p
            inner join intermediate.int_segment_people_permitted as a
                on p.person_key = a.person_key and a.segment = 'wechat_engaged'
            inner join intermediate.int_audience_keys as k on k.person_key = a.person_key and k.purpose = 'sms_marketing'"""},
        replaced(GATED, ("permitted_mask <> 0", "permitted_mask != 0")),
        replaced(GATED, ("permitted_mask <> 0", "not (permitted_mask = 0)")),
        replaced(GATED, ("permitted_mask <> 0 and ", "")),
        replaced(BY_PURPOSE, ("t.controller = s.controller and t.category = s.category and (t.permitted_mask & s.scope_mask) <> 0", "(s.scope_mask & t.permitted_mask) <> 0 and t.category = s.category")),
        replaced(BY_PURPOSE, ("<> 0", "= s.scope_mask")),
        replaced(MASKED, ("coalesce(l.mask_then & k.mask_kept, 0)", "l.mask_then & k.mask_kept")),
        replaced(MASKED, ("coalesce(l.mask_then & k.mask_kept, 0)", "case when l.mask_then is null then 0 else k.mask_kept & l.mask_then end")),
        replaced(MASKED, ("l.t0 <= t.occurred_at and t.occurred_at < l.t1", "t.occurred_at >= l.t0 and l.t1 > t.occurred_at")),
        replaced(TIMELINES, ("over by_time as t1", "over (partition by unit_id order by changed_at) as t1")),
    ],
)  # fmt: skip
def test_static_proof_does_not_flag_a_harmless_refactoring(models: dict[str, str]) -> None:
    found = prove(models)
    assert found.is_proved, [failure.what for failure in found.failures]
