"""The prepared dbt project of a policy, and the sensitivity that is derived from a segment's SQL."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
import yaml

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Policy, Segment, SensitiveValue
from orchestration.warehouse import prepare as preparing
from orchestration.warehouse.code_hash import DBT_PROJECT
from orchestration.warehouse.models import ModelMissingError, Models
from orchestration.warehouse.prepare import prepare, project_files
from orchestration.warehouse.project_files import POLICY_FILE, generated_files, text, variables
from orchestration.warehouse.relations import DECLARED
from orchestration.warehouse.sensitivity import (
    SqlUnreadableError,
    reads_sensitive,
    sensitive_segments,
    staged_columns,
    stages_read,
)

MARKETING = "models/marts/marketing"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(SHIPPED)


def changed(segment: Segment, **changes: Any) -> Segment:
    return segment.model_copy(update=changes)


def with_segments(policy: Policy, *segments: Segment) -> Policy:
    return policy.model_copy(update={"segments": policy.segments.model_copy(update={"segments": segments})})


def segment_of(policy: Policy, name: str) -> Segment:
    return next(segment for segment in policy.segments.segments if segment.name == name)


def test_project_holds_the_models_that_policy_names_and_no_others(policy: Policy) -> None:
    files = project_files(policy, SHIPPED)
    names = {segment.name for segment in policy.segments.segments}
    assert {Path(path).stem for path in files if path.startswith(MARKETING) and path.endswith(".sql")} == names
    assert files[f"{MARKETING}/dormant_30.sql"] == files[f"{MARKETING}/dormant_90.sql"]
    variables = yaml.safe_load(files["dbt_project.yml"])["vars"]
    assert set(variables["segments"]) == names
    assert variables["sources"] == [source.name for source in policy.sources.sources]
    one = with_segments(policy, segment_of(policy, "wechat_engaged"))
    kept = {path for path in project_files(one, SHIPPED) if path.startswith(MARKETING)}
    assert kept == {f"{MARKETING}/wechat_engaged.sql", f"{MARKETING}/_marketing__models.yml"}


def test_model_of_the_policy_folder_comes_first(policy: Policy, tmp_path: Path) -> None:
    own = tmp_path / MARKETING / "dormant.sql"
    own.parent.mkdir(parents=True)
    own.write_text("select person_key from touchpoints")
    (own.parent / "_dormant_30__unit_tests.yml").write_text("unit_tests: []")
    files = project_files(policy, tmp_path)
    assert files[f"{MARKETING}/dormant_90.sql"] == own.read_bytes()
    assert f"{MARKETING}/_dormant_30__unit_tests.yml" in files


def test_missing_model_names_the_file_to_write(policy: Policy, tmp_path: Path) -> None:
    segment = changed(segment_of(policy, "dormant_30"), name="sleepers", model=None)
    with pytest.raises(ModelMissingError) as caught:
        project_files(with_segments(policy, segment), tmp_path)
    assert str(tmp_path / MARKETING / "sleepers.sql") in caught.value.remedy
    assert "days_since_purchase" in caught.value.remedy


def test_mart_contract_is_that_of_the_policy(policy: Policy) -> None:
    models = yaml.safe_load(generated_files(policy)[f"{MARKETING}/_marketing__models.yml"])["models"]
    mart = next(model for model in models if model["name"] == "birthday_month")
    assert mart["config"]["contract"] == {"enforced": True}
    assert [(column["name"], column["data_type"]) for column in mart["columns"]] == [
        ("audience_key", "varchar"),
        ("admitted_by", "bigint"),
        ("notice", "varchar"),
        ("consent_until", "timestamp"),
        ("birth_month", "bigint"),
    ]


def test_every_policy_table_is_traced_to_a_policy_file() -> None:
    assert {table for tables in POLICY_FILE.values() for table in tables} == set(DECLARED["policy"])


@pytest.mark.parametrize(
    "written", ["{{ env_var('HOME') }}", "{% set x = 1 %}", "{# gone #}", "{{{{ 1 }}", "a } b { c"]
)
def test_jinja_in_what_people_wrote_stays_text(written: str) -> None:
    assert jinja2.Environment().from_string(text(written)).render() == written


def test_project_is_prepared_once_per_content(policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Path] = []

    def parse(_home: Home, project: Path) -> None:
        parsed.append(project)
        (project / "target").mkdir()
        (project / "target" / "manifest.json").write_text('{"nodes": {}, "macros": {}}')

    monkeypatch.setattr(preparing, "parse", parse)
    monkeypatch.setattr(preparing, "require_declared", lambda manifest, policy: None)
    home = Home.open(tmp_path / "home", demo_seed=1)
    project = prepare(home, policy, SHIPPED)
    assert prepare(home, policy, SHIPPED) == project
    assert len(parsed) == 1
    assert (project.parent / "policy.json").is_file()
    fewer = with_segments(policy, *policy.segments.segments[1:])
    assert prepare(home, fewer, SHIPPED) != project
    shutil.rmtree(project / "target")  # what a killed or careless hand left is made again
    assert prepare(home, policy, SHIPPED) == project
    assert (project / "target" / "manifest.json").is_file()
    assert len(list(home.policies.iterdir())) == 2


@pytest.mark.fault("G10")
@pytest.mark.parametrize("damage", ["changed", "added", "removed"])
def test_project_whose_files_are_not_its_own_is_made_again(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    def parse(_home: Home, project: Path) -> None:
        (project / "target").mkdir()
        (project / "target" / "manifest.json").write_text('{"nodes": {}, "macros": {}}')

    monkeypatch.setattr(preparing, "parse", parse)
    monkeypatch.setattr(preparing, "require_declared", lambda manifest, policy: None)
    home = Home.open(tmp_path / "home", demo_seed=1)
    models = prepare(home, policy, SHIPPED) / MARKETING
    file, other = models / "wechat_engaged.sql", models / "everyone.sql"
    wanted = file.read_bytes()
    if damage == "removed":
        file.unlink()
    else:
        (file if damage == "changed" else other).write_text("select 1 as person_key")
    prepare(home, policy, SHIPPED)
    assert file.read_bytes() == wanted
    assert not other.exists()


SELECT = "select person_key from {{ ref('int_touchpoints_gated_by_purpose') }} where "


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (SELECT + "event = 'purchase'", False),
        (SELECT + "item = 'med-laser'", True),
        (SELECT + "item like 'med%'", True),
        (SELECT + "item like 'shoe%'", False),
        (SELECT + "{{ one_of('store', ['clinic-jingan']) }}", True),
        (SELECT + "-- clinic-jingan\n {# 'med-laser' #} event = 'consult'", False),
        (
            "with t as ({{ touchpoints() }}), p as (select * from t where item in ('a', 'med-x'))\n{{ members('p') }}",
            True,
        ),
    ],
)
def test_sensitivity_follows_what_the_sql_names(policy: Policy, sql: str, expected: bool) -> None:
    assert reads_sensitive(sql, segment_of(policy, "wechat_engaged"), policy, frozenset()) is expected


def test_sensitivity_follows_parameters(policy: Policy) -> None:
    segment = segment_of(policy, "wechat_engaged")
    sql = SELECT + "{{ one_of('store', segment().parameters.stores) }}"
    assert reads_sensitive(sql, changed(segment, parameters={"stores": ("store-a", "clinic-b")}), policy, frozenset())
    assert not reads_sensitive(sql, changed(segment, parameters={"stores": ("store-a",)}), policy, frozenset())


def test_sensitivity_follows_columns_of_sensitive_fields(policy: Policy) -> None:
    segment, columns = segment_of(policy, "wechat_engaged"), frozenset({"tier"})
    assert reads_sensitive(SELECT + "tier is not null", segment, policy, columns)
    assert reads_sensitive("select a.x from a inner join b using (tier)", segment, policy, columns)
    assert reads_sensitive("select distinct * from {{ ref('gate') }}", segment, policy, columns)
    assert reads_sensitive("select to_json(t) as x from {{ ref('gate') }} as t", segment, policy, columns)
    assert not reads_sensitive("select * from {{ ref('gate') }} where event = 'a'", segment, policy, columns)
    assert not reads_sensitive("select person_key, count(*) as n from t group by person_key", segment, policy, columns)


def test_sensitive_field_is_followed_through_the_staging_model(policy: Policy) -> None:
    rules = tuple(
        rule.model_copy(
            update={
                "fields": tuple(
                    f.model_copy(update={"category": "sensitive"}) if f.field == "birthday" else f for f in rule.fields
                )
            }
        )
        for rule in policy.minimisation.sources
    )
    sensitive = policy.model_copy(update={"minimisation": policy.minimisation.model_copy(update={"sources": rules})})
    assert sensitive_segments(policy, Models(SHIPPED)) == {"follow_up"}
    assert sensitive_segments(sensitive, Models(SHIPPED)) == {"follow_up", "birthday_month", "full_members"}


def test_field_of_a_later_stage_is_followed_through_the_staging_model(policy: Policy, tmp_path: Path) -> None:
    """R-10: what the models call the field does not matter, and what cannot be told is held back as well."""
    assert staged_columns(policy, Models(SHIPPED)) == {"birth_month": {"app": "full", "in_store": "full"}}
    needed = stages_read(policy, Models(SHIPPED))
    assert {segment for segment, stages in needed.items() if stages} == {"birthday_month"}
    staging = tmp_path / "models" / "staging"
    staging.mkdir(parents=True)
    (staging / "stg_app__touchpoints.sql").write_text("select to_json(t) as item, 1 as tier from {{ ref('x') }} as t")
    held_back = staged_columns(policy, Models(tmp_path))
    assert {column for column, sources in held_back.items() if sources.get("app") == "full"} == {
        "item", "store", "account", "city", "tier", "amount", "birth_month",
    }  # fmt: skip


def test_leaving_out_sensitive_people_is_sensitive(policy: Policy) -> None:
    excluding = changed(segment_of(policy, "wechat_engaged"), excludes=("follow_up",))
    both = with_segments(policy, excluding, segment_of(policy, "follow_up"))
    assert sensitive_segments(both, Models(SHIPPED)) == {"wechat_engaged", "follow_up"}


@pytest.mark.parametrize("sql", ["select from where", "delete from x", "drop table x", ""])
def test_sql_that_cannot_be_read_is_an_error(policy: Policy, sql: str) -> None:
    with pytest.raises(SqlUnreadableError):
        reads_sensitive(sql, segment_of(policy, "wechat_engaged"), policy, frozenset())


def test_sensitive_values_reach_the_models_as_policy_writes_them(policy: Policy) -> None:
    listed = (SensitiveValue(field="item", value="l'*"), SensitiveValue(field="store", value="{{ clinic }}"))
    changed_policy = policy.model_copy(
        update={"minimisation": policy.minimisation.model_copy(update={"sensitive_values": listed})}
    )
    values = variables(changed_policy, "h", frozenset(), {})["sensitive_values"]
    template = (DBT_PROJECT / "macros" / "is_sensitive.sql").read_text(encoding="utf-8")
    environment = jinja2.Environment()
    macro = environment.from_string(template + "{{ is_sensitive('t') }}", globals={"var": lambda _: values})
    sql = f"select {macro.render()} from (values (?, ?)) as t (item, store)"
    cases = [("l'oreal", None), ("L'oreal", "x"), (None, "{{ clinic }}"), (None, None), ("x", "{{ clinic }}2")]
    assert [duckdb.execute(sql, case).fetchone() for case in cases] == [
        (True,), (False,), (True,), (False,), (False,),
    ]  # fmt: skip
    nothing = environment.from_string(template + "{{ is_sensitive('t') }}", globals={"var": lambda _: []})
    assert duckdb.execute(f"select {nothing.render()}").fetchone() == (False,)
