"""What a build may hold of a person: by stage (R-10, R-81), by consent (R-11, R-73, R-80), and no detriment (R-23)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.warehouse.models import Models
from orchestration.warehouse.publish import connect_published
from tests.pipeline.conftest import Finished

POLICY = load_policy()
OF_STAGE = {"light_members": "light", "full_members": "full", "advocates": "advocate"}


@pytest.fixture(scope="module")
def con(built: tuple[Path, Finished]) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect_published(Home.open(built[0])) as connection:
        yield connection


def count(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    found = con.execute(sql).fetchone()
    assert found is not None
    return int(found[0])


def test_birthday_is_not_read_before_the_full_registration(con: duckdb.DuckDBPyConnection) -> None:
    """R-10. The interval of the stage's own consent, not the mask that the gate uses, must cover what is left."""
    told = "from intermediate.int_touchpoints_masked where birth_month is not null and permitted_mask <> 0"
    read = "from intermediate.int_touchpoints_gated where birth_month is not null"
    assert 0 < count(con, f"select count(*) {read}") < count(con, f"select count(*) {told}")
    admitted = f"""
        select g.touchpoint_key {
        read.replace(
            "where",
            "as g inner join intermediate.int_consent_intervals as i "
            "on g.unit_id = i.unit_id and i.reason is null and i.t0 <= g.occurred_at and g.occurred_at < i.t1 "
            "inner join policy.scopes as s on i.scope_bit = s.scope_bit and s.purpose = 'full_profile' where",
        )
    }"""
    assert count(con, f"select count(*) {read} and touchpoint_key not in ({admitted})") == 0


@pytest.mark.parametrize("segment", OF_STAGE)
def test_segment_of_a_stage_holds_only_its_people(segment: str, con: duckdb.DuckDBPyConnection) -> None:
    """R-81: everyone in it is at that stage, and that stage's consent is in force."""
    people = f"""
        from marts.{segment} as m
        inner join intermediate.int_audience_keys as k on m.audience_key = k.audience_key
        inner join intermediate.int_people_staged as s on k.person_key = s.person_key"""
    assert count(con, f"select count(*) {people}") == count(con, f"select count(*) from marts.{segment}") > 0
    assert count(con, f"select count(*) {people} where s.stage <> '{OF_STAGE[segment]}' or not s.is_open") == 0


def test_every_person_has_at_most_one_stage(con: duckdb.DuckDBPyConnection) -> None:
    assert count(con, "select count(*) - count(distinct person_key) from intermediate.int_people_staged") == 0
    assert {stage for (stage,) in con.execute("select stage from governance.people_by_stage").fetchall()} == {
        stage.name for stage in POLICY.purposes.stages
    }


def test_anonymous_people_get_mass_content_only(con: duckdb.DuckDBPyConnection) -> None:
    """R-80: whoever is in any other segment is known, and the anonymous stage is delivered nowhere."""
    personal = [s.name for s in POLICY.segments.segments if s.purpose != "mass_content"]
    keys = " union all ".join(f"select audience_key from marts.{name}" for name in personal)
    anonymous = "select person_key from intermediate.int_people_staged where stage = 'anonymous'"
    assert count(con, f"select count(*) from ({anonymous})") > 0
    found = count(con, f"""
        select count(*) from intermediate.int_audience_keys
        where audience_key in ({keys}) and person_key in ({anonymous})""")  # fmt: skip
    assert found == 0
    assert not next(s for s in POLICY.segments.segments if s.name == "anonymous_visitors").destinations


def test_each_gated_row_names_the_decisions_that_admit_it(con: duckdb.DuckDBPyConnection) -> None:
    """R-11: a grant, or a contract, effective before the touchpoint; only an opt-out regime has none to name."""
    rows = "from intermediate.int_touchpoints_admitted"
    gated = "select count(*) from intermediate.int_touchpoints_gated_by_purpose"
    assert count(con, f"select count(*) {rows}") == count(con, gated) > 0
    named = "(select seq, effective_at from ledger.consent_events where decision = 'grant' union all " \
            "select seq, effective_at from ledger.contracts)"  # fmt: skip
    unnamed = f"{rows} as a left join {named} as e on a.admitted_by = e.seq where e.seq is null"
    californian = """
        person_key in (
            select r.person_key from ledger.consent_events as e
            inner join intermediate.int_identifiers_resolved as r on e.token = r.token
            where e.jurisdiction = 'US-CA')"""
    assert count(con, f"select count(*) {unnamed} and not ({californian})") == 0
    late = f"{rows} as a inner join {named} as e on a.admitted_by = e.seq where e.effective_at > a.occurred_at"
    assert count(con, f"select count(*) {late}") == 0


def test_merged_profile_holds_only_what_its_consents_allow(con: duckdb.DuckDBPyConnection) -> None:
    """R-73: of people with several identifiers, each touchpoint of the profile has a permit of its own."""
    merged = """
        select person_key from intermediate.int_identifiers_resolved
        where person_key is not null group by person_key having count(*) > 1"""
    profile = f"from intermediate.int_touchpoints_gated_by_purpose where person_key in ({merged})"
    assert count(con, f"select count(*) {profile}") > 0
    refused = f"""
        select count(*) from (select touchpoint_key, purpose {profile}) as p
        inner join intermediate.int_decisions as d using (touchpoint_key, purpose) where d.reason is not null"""
    assert count(con, refused) == 0
    hidden = f"select count(*) from intermediate.int_decisions where reason is not null and person_key in ({merged})"
    assert count(con, hidden) > 0, "a merged person with nothing to hide proves nothing"


def test_refusing_marketing_takes_nothing_from_service(con: duckdb.DuckDBPyConnection) -> None:
    """R-23: of those with a contract, whoever withdrew marketing is served like everybody else."""
    withdrew = """
        select distinct person_key from intermediate.int_permissions_now
        where purpose = 'sms_marketing' and reason in ('withdrawn', 'objected', 'denied') and not is_own"""
    contract = """
        select distinct r.person_key from ledger.contracts as c
        inner join intermediate.int_identifiers_resolved as r on c.token = r.token and c.controller = r.controller
        where c.controller = 'shop' and c.valid_until is null"""
    both = f"person_key in ({withdrew} intersect {contract})"
    people = f"from intermediate.int_permissions_now where purpose = 'service' and {both}"
    assert count(con, f"select count(*) {people}") > 0
    reasons = con.execute(f"select distinct reason {people} and controller = 'shop'").fetchall()
    assert {reason for (reason,) in reasons} <= {
        None, "erased", "restricted", "legal_hold_use_blocked", "minor_without_guardian",
    }  # fmt: skip


def test_refusal_is_no_feature_of_a_segment() -> None:
    """R-23: no segment's SQL can see who refused; it reads touchpoints that passed the gate and nothing else."""
    models = Models(SHIPPED)
    for segment in POLICY.segments.segments:
        sql = models.segment(segment).read_text(encoding="utf-8")
        assert "ref(" not in sql and "source(" not in sql, f"{segment.name} reads beside the gate"
