"""Lineage of a built home: of every column that is shown or delivered, with gates; on the page, in OpenLineage events
and in Dagster; and nothing of it is anybody's data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dagster as dg
import jsonschema
import pytest

from orchestration.defs.instance import open_instance
from orchestration.defs.metadata import column_lineage
from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.proof.lineage.answers import goes_of, origins_of
from orchestration.proof.lineage.edges import Column, direct
from orchestration.proof.lineage.facts import Facts
from orchestration.proof.lineage.graph import SHOWN, Lineage
from orchestration.proof.lineage.page import render_lineage
from orchestration.proof.lineage.read import read_lineage
from tests.openlineage_spec import RUN_EVENT
from tests.pipeline.conftest import Finished, assent

Built = tuple[Path, Finished]
POLICY = load_policy()
FACTS = Facts(POLICY)


@pytest.fixture(scope="module")
def lineage(built: Built) -> Lineage:
    return read_lineage(Home.open(built[0]), POLICY, SHIPPED)


def exposed(lineage: Lineage) -> list[Column]:
    shown = [name for name in lineage.relations if name.partition(".")[0] in SHOWN]
    return [Column(name, column) for name in shown for column in lineage.relations[name]]


def test_every_way_to_what_is_shown_passes_a_gate_or_a_review(lineage: Lineage) -> None:
    assert lineage.gates == ("intermediate.int_touchpoints_gated",)
    for column in exposed(lineage):
        answer = origins_of(lineage, FACTS, column)
        loose = [one.column for one in (*answer.made_of, *answer.decided_by) if not one.is_gated]
        assert not loose, (str(column), loose)


def test_way_around_the_gate_is_no_longer_gated(lineage: Lineage) -> None:
    """The control of the test above: one edge more, and it says so."""
    column = Column("marts.dormant_90", "days_since_purchase")
    leak = direct(Column("staging.stg_web__touchpoints", "item"), column, "copy")
    leaky = Lineage([*lineage.edges, leak], lineage.gates, lineage.of_segment, lineage.reviewed)
    made_of = origins_of(leaky, FACTS, column).made_of
    assert [one.column for one in made_of if not one.is_gated] == ["landing.web.item"]


def test_every_column_of_a_segment_has_an_origin_and_a_purpose(lineage: Lineage) -> None:
    purposes = {f"marts.{segment.name}": segment.purpose for segment in POLICY.segments.segments}
    for column in exposed(lineage):
        if column.relation in purposes:
            answer = origins_of(lineage, FACTS, column)
            assert answer.purposes == (purposes[column.relation],)
            assert answer.made_of or answer.decided_by, column  # of no column's value: it counts rows
            assert answer.category, column


def test_field_that_minimisation_drops_reaches_nothing_shown(lineage: Lineage) -> None:
    dropped = [
        Column(f"landing.{of.source}", rule.field)
        for of in POLICY.minimisation.sources
        for rule in of.fields
        if rule.verb == "drop"
    ]
    own = {  # the name of the event and its time have columns of their own, whatever is said of them
        Column(f"landing.{source.name}", name)
        for source in POLICY.sources.sources
        for name in (source.event, source.occurred_at.field)
    }
    for column in set(dropped) - own:
        answer = goes_of(lineage, FACTS, column)
        assert (answer.verb, answer.goes_to, answer.decides) == ("drop", (), ()), column


def test_one_segments_file_is_not_made_of_another_segment(lineage: Lineage) -> None:
    answer = origins_of(lineage, FACTS, Column("exports.follow_up__front_desk", "audience_key"))
    passed = {target.rpartition(".")[0] for one in (*answer.made_of, *answer.decided_by) for _, _, target in one.path}
    assert {name for name in passed if name.startswith("marts.")} == {"marts.follow_up"}


def test_command_answers_back_and_forward(built: Built) -> None:
    back = assent(built[0], "lineage", "marts.birthday_month.birth_month", "--json").json()
    assert {one["column"]: one["verb"] for one in back["made_of"]} == {
        "landing.app.birthday": "bucket month_of_year", "landing.in_store.birthday": "bucket month_of_year",
    }  # fmt: skip
    assert all(one["gates"] == ["intermediate.int_touchpoints_gated"] for one in back["made_of"])
    assert back["made_of"][0]["path"][0] == ["landing.app.birthday", "bucket", "lake.app.birthday_month_of_year"]
    forward = assent(built[0], "lineage", "--from", "in_store.birthday", "--json").json()
    assert [one["column"] for one in forward["goes_to"]] == ["marts.birthday_month.birth_month"]
    assert forward["stage"] == "full" and "personalisation" in forward["purposes"]
    told = assent(built[0], "lineage", "marts.birthday_month.birth_month")
    assert "through int_touchpoints_gated" in told.out and "for personalisation" in told.out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("marts.dormant.days_since_purchase", "marts.dormant_30.days_since_purchase"),
        ("marts.dormant_90", "Add a column: admitted_by"),
        ("touchpoint_key", "Near it"),
        ("nothing", "lists what can be asked"),
    ],
)
def test_unknown_column_is_answered_by_what_is_near(built: Built, asked: str, said: str) -> None:
    done = assent(built[0], "lineage", asked)
    assert done.code == 1 and said in done.err, done.err


def test_overview_lists_what_can_be_asked(built: Built) -> None:
    done = assent(built[0], "lineage")
    assert "marts.dormant_90" in done.out and "landing.web" in done.out and "int_touchpoints_gated" in done.out


def test_page_is_self_contained_and_holds_every_column(lineage: Lineage) -> None:
    page = render_lineage(POLICY, lineage, policy_hash="0" * 64)
    assert all(f'id="{column}"' in page for column in exposed(lineage))
    assert not re.search(r"""(src|href)=["'](?!#)|@import|url\(|https?://""", page)
    assert "default-src 'none'" in page and page.count("<script>") == 1
    body = page.partition("<body>")[2].partition("<script>")[0]
    assert body.count("<article") == body.count("</article>") > 180  # it is all there without its script
    assert "沉睡90天" in body and "Dormant for 90 days" in body and "int_absences_proved" in body


def test_page_escapes_what_the_policy_says(lineage: Lineage) -> None:
    segment = POLICY.segments.segments[0]
    hostile = segment.model_copy(update={"label": segment.label.model_copy(update={"en": "<img src=x onerror=y>"})})
    segments = POLICY.segments.model_copy(update={"segments": (hostile, *POLICY.segments.segments[1:])})
    page = render_lineage(POLICY.model_copy(update={"segments": segments}), lineage, policy_hash="0" * 64)
    assert "<img" not in page and "&lt;img" in page


def test_build_leaves_openlineage_events_without_sql(built: Built) -> None:
    """E6: names and codes, no facet with a query, no value of a row."""
    (path,) = (built[0] / "evidence").glob("*/openlineage.jsonl")
    assert path.parent.name == built[1].json()["generation"]
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    validator = jsonschema.Draft202012Validator(RUN_EVENT)
    assert len(events) > 150 and all(validator.is_valid(event) for event in events)
    assert not re.search(r"select |where | = '", path.read_text(encoding="utf-8"), re.IGNORECASE)
    made = {output["name"] for event in events for output in event.get("outputs", ())}
    assert {"marts.dormant_90", "exports.dormant_90__email_service", "lake.web", "ledger.consent_events"} <= made


def test_events_are_written_where_asked(built: Built, tmp_path: Path) -> None:
    done = assent(built[0], "lineage", "--openlineage", str(tmp_path / "events.jsonl"))
    assert done.code == 0, done.err
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    (kept,) = (built[0] / "evidence").glob("*/openlineage.jsonl")
    ids = [{json.loads(line)["run"]["runId"] for line in of} for of in (lines, kept.read_text().splitlines())]
    assert ids[0] == ids[1]  # the same run, told again


def test_dagster_holds_the_direct_columns_of_each_model(built: Built) -> None:
    with open_instance(Home.open(built[0])) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["marts", "birthday_month"]))
    assert event is not None and event.asset_materialization is not None
    (value,) = (v for k, v in event.asset_materialization.metadata.items() if k == "dagster/column_lineage")
    deps = value.value.deps_by_column["birth_month"]
    gated = dg.AssetKey(["intermediate", "int_touchpoints_gated_by_purpose"])
    assert [(dep.asset_key, dep.column_name) for dep in deps] == [(gated, "birth_month")]


def test_dagster_lineage_holds_names_only() -> None:
    key = dg.AssetKey(["lake", "web"])
    for name in ("item", "省份"):
        assert column_lineage({name: [(key, name)]})["dagster/column_lineage"].deps_by_column[name]
    for bad in ({"item": [(key, "a@example.invalid")]}, {"+8613900000001": [(key, "item")]}):
        with pytest.raises(ValueError, match="no column's name"):
            column_lineage(bad)
