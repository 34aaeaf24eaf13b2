# ruff: noqa: E501 - each case is one line, however long the SQL in it
"""The static proof of the models that are shipped, as dbt compiled them; and of them with one thing wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestration.exports.audience import CANDIDATES
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Policy
from orchestration.proof.aggregates import EXPORTED
from orchestration.proof.analysis import Analysis
from orchestration.proof.compiled import declared_columns
from orchestration.proof.project import Project, read_project
from orchestration.proof.static import prove_statically
from orchestration.proof.verdict import Verdict, are_proved
from tests.integration.conftest import Decided

AS_OF = datetime(2026, 11, 26, tzinfo=UTC)
MARTS = {f"marts.{segment.name}" for segment in load_policy(SHIPPED).segments.segments}
GOVERNANCE = {
    "coverage",
    "decisions_by_purpose",
    "deletions_due",
    "people_by_stage",
    "reach_by_channel",
    "segment_waterfalls",
}
I = "intermediate."  # noqa: E741


@pytest.fixture(scope="module")
def project(decided: Decided) -> Project:
    return read_project(decided.target, declared_columns(load_policy(SHIPPED)))


@pytest.fixture(scope="module")
def read(project: Project) -> Analysis:
    return Analysis.of(project, load_policy(SHIPPED))


def verdicts(
    project: Project, policy: Policy | None = None, as_of: datetime = AS_OF, like: Analysis | None = None
) -> dict[str, Verdict]:
    found = prove_statically(project, policy or load_policy(SHIPPED), as_of=as_of, like=like)
    return {verdict.relation: verdict for verdict in found}


def changed(project: Project, name: str, *pairs: tuple[str, str]) -> Project:
    """The project with the SQL of one model changed; each text must be in it."""
    relation = project[name]
    sql = (relation.sql or "").replace(f'"{relation.database}".', "")
    for old, new in pairs:
        assert old in sql, old
        sql = sql.replace(old, new)
    return Project(tuple(replace(relation, sql=sql) if one.name == name else one for one in project))


def test_shipped_models_are_proved(project: Project) -> None:
    found = verdicts(project)
    assert found.keys() == MARTS | {f"governance.{name}" for name in GOVERNANCE} | {EXPORTED}
    assert are_proved(found.values()), [failure.what for v in found.values() for failure in v.failures]
    purposes = {f"marts.{segment.name}": segment.purpose for segment in load_policy(SHIPPED).segments.segments}
    assert {name: found[name].purpose for name in MARTS} == purposes


def test_exports_read_only_what_is_proved_as_a_delivery() -> None:
    assert CANDIDATES.count(" from ") + CANDIDATES.count("\nfrom ") == 1
    assert f"from {EXPORTED} as a" in CANDIDATES


@pytest.mark.parametrize(
    ("name", "pairs", "relation", "says"),
    [
        (f"{I}int_touchpoints_gated_by_purpose", [("inner join", "left join")], "marts.advocates", "of whatever purpose"),
        pytest.param(*(f"{I}int_touchpoints_masked", [("l.mask_then & k.mask_kept, 0", "l.mask_then, 0")], "marts.dormant_30", "without a permit"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_timelines", [("    inner join in_force as f on i.unit_id = f.unit_id and i.scope_bit = f.scope_bit\n", "")], "marts.follow_up", "without a permit"), marks=pytest.mark.slow),
        ("marts.second_purchase", [("purpose = 'email_marketing'\n", "purpose = 'sms_marketing'\n")], "marts.second_purchase", "for purpose sms_marketing, not for email_marketing"),
        pytest.param(*("marts.second_purchase", [("        and category <> 'sensitive'\n", "")], "marts.second_purchase", "sensitive touchpoints"), marks=pytest.mark.slow),
        ("marts.second_purchase", [('inner join "intermediate"."int_absences_proved"', 'left join "intermediate"."int_absences_proved"')], "marts.second_purchase", "does not admit"),
        pytest.param(*("marts.full_members", [("where x1.audience_key is null", "")], "marts.full_members", "excludes the people of birthday_month"), marks=pytest.mark.slow),
        pytest.param(*("marts.full_members", [("g.is_open and ", "")], "marts.full_members", "is_open (true)"), marks=pytest.mark.slow),
        pytest.param(*("marts.full_members", [("in ('full')", "in ('full', 'light')")], "marts.full_members", "own stage"), marks=pytest.mark.slow),
        ("marts.high_value_shared", [("amount > 0", "amount > 0 and item = 'x'")], "marts.high_value_shared", "of category behaviour"),
        pytest.param(*("marts.birthday_month", [("cast(p.birth_month as bigint)", "cast(p.birth_month as bigint) + length(p.person_key)")], "marts.birthday_month", "known across purposes"), marks=pytest.mark.slow),
        (f"{I}int_segment_people", [("on d.segment = m.segment and", "on")], EXPORTED, "need not be members"),
        pytest.param(*(f"{I}int_segment_people", [("select 'follow_up' as segment", "select 'dormant_30' as segment")], EXPORTED, "need not be members"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_activations_decided", [("where p.is_member", "")], EXPORTED, "need not be members"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_activations_decided", [("p.segment = d.segment", "true")], EXPORTED, "does not name for their segment"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_activations_decided", [("a.person_key = c.person_key and", "")], EXPORTED, "contact_token need not be that"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_segment_people", [("d.person_key = k.person_key and", "")], EXPORTED, "audience_key need not be that"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_segment_people", [("and k.audience_key = m.audience_key", "")], EXPORTED, "need not be members"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_masks_kept", [("a.category = s.category and", "")], "marts.dormant_30", "without a permit"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_timelines", [("i.unit_id = f.unit_id and", "")], "marts.dormant_30", "without a permit"), marks=pytest.mark.slow),
        pytest.param(*("marts.second_purchase", [("to_days(60)", "to_days(90)")], "marts.second_purchase", "before its lookback of 60 days"), marks=pytest.mark.slow),
        pytest.param(*(f"{I}int_activations_decided", [("    audience_key,\n", "    person_key as audience_key,\n")], EXPORTED, "of no mart"), marks=pytest.mark.slow),
        ("governance.coverage", [("cast(count(*) as bigint) as touchpoints", "cast(avg(amount) as bigint) as touchpoints")], "governance.coverage", "declared a count"),
        pytest.param(*("governance.coverage", [("    controller,", "    max(person_key) as controller,"), ("source, controller", "source")], "governance.coverage", "is an aggregate"), marks=pytest.mark.slow),
        pytest.param(*("governance.coverage", [("    controller,", "    person_key as controller,"), ("source, controller", "source, person_key")], "governance.coverage", "by which a person is known"), marks=pytest.mark.slow),
        ("governance.coverage", [("group by source, controller", "group by source, controller, person_key")], "governance.coverage", "a group for each"),
    ],
)  # fmt: skip
def test_shipped_models_with_one_thing_wrong_are_refused(
    project: Project, read: Analysis, name: str, pairs: list[tuple[str, str]], relation: str, says: str
) -> None:
    found = verdicts(changed(project, name, *pairs), like=read)[relation]
    assert any(says in failure.what for failure in found.failures), found.failures
    assert all(failure.path and failure.remedy for failure in found.failures)


def test_project_read_beside_another_has_the_same_verdicts(project: Project, read: Analysis) -> None:
    other = changed(project, "intermediate.int_touchpoints_gated", ("t.permitted_mask <> 0", "t.mask_then <> 0"))
    assert verdicts(other, like=read) == verdicts(other)


def test_review_that_expired_fails_with_who_is_to_review_again(project: Project) -> None:
    last = max(one.expires for one in load_policy(SHIPPED).reclassifications.reclassifications)
    found = verdicts(project, as_of=datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1))
    assert not any(verdict.is_proved for verdict in found.values())
    (failure, *_) = found["governance.coverage"].failures
    assert "expired" in failure.what
    assert "reclassifications.yaml" in failure.remedy


def test_nothing_leaves_without_a_review(project: Project) -> None:
    policy = load_policy(SHIPPED)
    bare = policy.model_copy(
        update={"reclassifications": policy.reclassifications.model_copy(update={"reclassifications": ()})}
    )
    found = verdicts(project, bare)
    assert not any(verdict.is_proved for verdict in found.values())


def test_segment_without_a_model_is_refused(project: Project) -> None:
    without = Project(tuple(relation for relation in project if relation.name != "marts.dormant_30"))
    assert "no such model" in verdicts(without)["marts.dormant_30"].failures[0].what


def test_table_outside_without_a_purpose_is_refused(project: Project) -> None:
    mart = project["marts.dormant_30"]
    found = verdicts(Project((*project, replace(mart, name="reports.everybody", layer="reports"))))
    assert any("gives it no purpose" in failure.what for failure in found["reports.everybody"].failures)
