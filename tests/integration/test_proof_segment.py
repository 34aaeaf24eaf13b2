"""A user adds a segment by one SQL file and one entry of policy; a bad one is refused with the path, in words."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from orchestration.home import Home
from orchestration.policy.loader import FILES, SHIPPED, load_policy
from orchestration.proof.compiled import compiled_project
from orchestration.proof.static import prove_statically
from orchestration.proof.verdict import Verdict, are_proved

RETAIL = Path(__file__).parents[2] / "data" / "examples" / "retail"
AS_OF = datetime(2026, 11, 26, tzinfo=UTC)
ENTRY = {
    "label": {"zh-CN": "拿铁常客", "en": "Latte regulars"},
    "description": {"zh-CN": "近期多次购买拿铁的人", "en": "People who bought a latte more than once lately"},
    "owner": "growth@example.com",
    "purpose": "email_marketing",
    "controller": "shop",
    "channels": ["email"],
    "destinations": ["email_service"],
    "lookback_days": 30,
}
GOOD = """
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key, count(*) as purchases
    from touchpoints
    where event = 'purchase' and item like 'latte%'
    group by person_key
    having purchases > 1
)

select * from {{ segment_members('people') }}
"""
BAD = {
    "reads_everybody": GOOD.replace("{{ segment_touchpoints() }}", "{{ ref('int_touchpoints_masked') }}"),
    "reads_any_purpose": GOOD.replace("{{ segment_touchpoints() }}", "{{ ref('int_touchpoints_gated_by_purpose') }}"),
    "compares_with_everybody": GOOD.replace(
        "having purchases > 1",
        "having sum(amount) > (select avg(t.amount) from {{ ref('int_touchpoints_classified') }} as t)",
    ),
    "asks_the_ledger": GOOD.replace(
        "where event",
        "where person_key in (select i.group_token from {{ source('identity', 'identifiers') }} as i\n"
        "        inner join {{ source('ledger', 'consent_events') }} as e on i.token = e.token\n"
        "        where e.decision = 'withdraw') and event",
    ),
    "names_a_table": GOOD.replace("{{ segment_touchpoints() }}", "intermediate.int_touchpoints_gated_by_purpose"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """The verdicts on a policy with these segments added, by name."""
    root = tmp_path_factory.mktemp("story")
    folder, home = root / "policy", Home.open(root / "home")
    models = folder / "models" / "marts" / "marketing"
    models.mkdir(parents=True)
    for name in FILES:
        shutil.copy(SHIPPED / f"{name}.yaml", folder)
    for name, sql in {"latte_regulars": GOOD, **BAD}.items():
        (models / f"{name}.sql").write_text(sql, encoding="utf-8")
        with (folder / "segments.yaml").open("a", encoding="utf-8") as file:
            file.write(_indented(yaml.safe_dump([{"name": name, **ENTRY}], allow_unicode=True, sort_keys=False)))
    policy = load_policy(folder)
    verdicts = prove_statically(compiled_project(home, policy, folder), policy, as_of=AS_OF)
    return {verdict.relation.partition(".")[2]: verdict for verdict in verdicts}


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


@pytest.mark.slow
def test_segment_of_one_file_and_one_entry_is_proved(found: dict[str, Verdict]) -> None:
    assert found["latte_regulars"].is_proved, found["latte_regulars"].failures
    assert found["latte_regulars"].purpose == "email_marketing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "what", "step", "remedy"),
    [
        ("reads_everybody", "without a permit", "reads_everybody reads it", "{{ segment_touchpoints() }}"),
        ("reads_any_purpose", "of whatever purpose, not for email_marketing", "asking nothing", "segment_touchpoints"),
        ("compares_with_everybody", "without a permit", "compares_with_everybody", "segment_touchpoints"),
        ("asks_the_ledger", "outside the gate", "marts.asks_the_ledger reads it", "segment_members('people')"),
        ("names_a_table", "written as a name", "marts.names_a_table", "ref()"),
    ],
)
def test_bad_segment_is_refused_with_the_path_in_words(
    found: dict[str, Verdict], name: str, what: str, step: str, remedy: str
) -> None:
    verdict = found[name]
    assert not verdict.is_proved
    told = [failure for failure in verdict.failures if what in failure.what]
    assert told, verdict.failures
    assert any(step in one for failure in told for one in failure.path)
    assert remedy in told[0].remedy


@pytest.mark.slow
def test_shop_with_a_policy_of_its_own_is_proved(tmp_path: Path) -> None:
    """One source, two segments, no stages: the core models as they are compiled for somebody else."""
    policy = load_policy(RETAIL)
    project = compiled_project(Home.open(tmp_path / "home"), policy, RETAIL)
    verdicts = prove_statically(project, policy, as_of=datetime(2011, 12, 10, tzinfo=UTC))
    assert are_proved(verdicts), [failure.what for verdict in verdicts for failure in verdict.failures]
    assert {"marts.high_spenders", "marts.repeat_buyers"} <= {verdict.relation for verdict in verdicts}


@pytest.mark.slow
def test_bad_segments_leave_the_others_proved(found: dict[str, Verdict]) -> None:
    marts = {segment.name for segment in load_policy(SHIPPED).segments.segments}
    assert all(found[name].is_proved for name in marts)
