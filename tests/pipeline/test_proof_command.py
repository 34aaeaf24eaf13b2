"""`assent prove` as people use it: on a built home, with a segment of their own, and what a build says of a bad one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.errors import ExitCode
from orchestration.policy.loader import SHIPPED
from tests.pipeline.conftest import AS_OF, Finished, assent

UNGATED = """\
-- People who came back; whoever bought is left in by what was seen before the gate.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key
    from touchpoints
    where person_key in (select person_key from {{ ref('int_touchpoints_masked') }} where event = 'purchase')
    group by person_key
)

select * from {{ segment_members('people') }}
"""
GOOD = """\
-- People who came back, by a count of their own making.
with touchpoints as (
    select * from {{ segment_touchpoints() }}
),

people as (
    select person_key
    from touchpoints
    where source = 'wechat'
    group by person_key
    having count(distinct cast(occurred_at as date)) >= 2
)

select * from {{ segment_members('people') }}
"""


def policy_with(folder: Path, model: str) -> Path:
    """The shipped policy with another model of the segment `wechat_engaged`."""
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "vocabulary.yaml"))
    path = folder / "models" / "marts" / "marketing" / "wechat_engaged.sql"
    path.parent.mkdir(parents=True)
    path.write_text(model)
    return folder


@pytest.mark.slow
def test_built_home_is_proved_by_all_parts_and_by_two_was_its_build(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path]
) -> None:
    home = copy_of(built[0])
    (of_build,) = (home / "evidence" / "proofs").glob("*.json")
    released = json.loads(next((home / "warehouse").glob("*.release.json")).read_bytes())
    assert {"static", "twins"} <= {check["stage"] for check in released["checks"]}
    done = assent(home, "prove", "--json")
    assert done.code == ExitCode.OK, done.out
    proof = done.json()
    assert proof["is_proved"] and proof["failed"] == 0 and proof["seconds"]["static"] > 0
    assert set(proof["parts"]) == {"static", "twins", "canaries"}
    assert all(of["obligations"] > 50 for of in proof["parts"].values()), proof["parts"]
    assert {"compile", "static", "twins", "canaries", "all"} == proof["seconds"].keys()
    before = json.loads(of_build.read_bytes())
    assert before["sql_hash"] == proof["sql_hash"], "the SQL that the build ran is what is proved on demand"
    assert before["is_proved"] and before["generation"] == proof["generation"]


@pytest.mark.slow
def test_bad_segment_is_refused_with_the_path_before_it_is_built(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    home = copy_of(built[0])
    bad = policy_with(tmp_path / "bad", UNGATED)
    done = assent(home, "--policy", str(bad), "prove", "--static")
    assert done.code == ExitCode.VERIFY
    failed = [line for line in done.out.splitlines() if line.startswith("BAD")]
    assert failed and all("marts.wechat_engaged" in line or "int_activations" in line for line in failed), done.out
    assert "int_touchpoints_masked" in done.out and "sms_marketing" in done.out and "NOT PROVED" in done.out


@pytest.mark.slow
def test_build_with_a_bad_segment_is_refused_and_with_a_good_one_published(
    built: tuple[Path, Finished], copy_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    home = copy_of(built[0])
    before = (home / "warehouse" / "published.json").read_bytes()
    refused = assent(home, "--policy", str(policy_with(tmp_path / "bad", UNGATED)), "run", "--as-of", AS_OF)
    assert refused.code == ExitCode.FAILED
    assert "not proved: static: marts.wechat_engaged, for sms_marketing" in refused.err, refused.err
    assert "int_touchpoints_masked" in refused.err
    assert (home / "warehouse" / "published.json").read_bytes() == before
    good = assent(home, "--policy", str(policy_with(tmp_path / "good", GOOD)), "run", "--as-of", AS_OF)
    assert good.code == ExitCode.OK, good.err
    assert (home / "warehouse" / "published.json").read_bytes() != before
