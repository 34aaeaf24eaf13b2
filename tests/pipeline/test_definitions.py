"""The code location: everything loads, is owned and described, and refuses to run in part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path

import dagster as dg
import pytest

from orchestration.defs import proof
from orchestration.defs.assembly import assemble
from orchestration.defs.evidence import mart_check_specs
from orchestration.defs.failures import attempt
from orchestration.defs.instance import open_instance
from orchestration.defs.jobs import RE_EXPORT
from orchestration.defs.launch import BuildFailedError, launch_build
from orchestration.defs.metadata import measured
from orchestration.defs.partitions import day_of, end_of_day, partition
from orchestration.defs.resources import RefusingIOManager, refuse_partial
from orchestration.defs.schedules import consent_table_schedules
from orchestration.defs.site import Site
from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.proof.checks import SENTENCES
from orchestration.settings import Settings
from orchestration.warehouse.gate import REQUIRED_STAGES
from tests.pipeline.conftest import AS_OF

STAGES = {"policy", "ingestion", "consent", "identity", "warehouse", "exports", "evidence", "retention"}
GROUPS = STAGES | {"staging", "intermediate", "marts", "governance"}


@pytest.fixture(scope="module")
def site(landed: Path) -> Site:
    return Site.load(Settings(home=landed))


@pytest.fixture(scope="module")
def definitions(site: Site) -> dg.Definitions:
    definitions = assemble(site, lock_wait=0)
    dg.Definitions.validate_loadable(definitions)
    return definitions


def test_every_asset_has_owner_group_kind_and_description(definitions: dg.Definitions) -> None:
    specs = list(definitions.resolve_all_asset_specs())
    assert len(specs) > 60
    for spec in specs:
        assert spec.owners, spec.key
        assert spec.group_name in GROUPS, spec.key
        assert spec.kinds, spec.key
        assert spec.description, spec.key


def test_lineage_runs_from_policy_and_sources_to_exports(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    export = dg.AssetKey(["exports", "consulted_not_bought_7__sms_gateway"])
    above = {key.path[0] + "/" + key.path[1] for key in graph.get_ancestor_asset_keys(export)}
    wanted = {"policy/purposes", "policy/segments", "landing/web", "landing/consent", "lake/in_store"}
    assert wanted | {"warehouse/release", "marts/consulted_not_bought_7"} <= above


def test_groups_read_from_left_to_right(definitions: dg.Definitions) -> None:
    """A group that is above another is nowhere below it."""
    graph = definitions.resolve_asset_graph()
    above: dict[str, set[str]] = {group: set() for group in GROUPS}
    for node in graph.asset_nodes:
        above[node.group_name] |= {graph.get(key).group_name for key in node.parent_keys} - {node.group_name}
    order = list(TopologicalSorter(above).static_order())
    assert order[0] == "policy"
    assert order[-3:] == ["exports", "evidence", "retention"]


def test_crashed_run_is_tried_again_whole(definitions: dg.Definitions) -> None:
    """From where it failed it would be a partial run, which is refused."""
    for job in ("build_job", "re_export_job"):
        assert definitions.resolve_job_def(job).tags["dagster/retry_strategy"] == "ALL_STEPS"


def test_every_check_blocks_but_those_of_what_comes_in_and_goes(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    lenient = {key.name for key in graph.asset_check_keys if not graph.get(key).blocking}
    assert lenient == {
        "no_file_was_refused",
        "stored_columns_are_those_of_todays_policy",
        "nothing_waits_past_its_days",
    }
    assert len(graph.asset_check_keys) > 100


def test_mart_checks_are_those_that_great_expectations_makes(site: Site) -> None:
    from orchestration.evidence.expectations import mart_suite

    at = datetime.fromisoformat(AS_OF)
    made = {
        f"{segment.name}: {expected.sentence}"
        for segment in site.policy.segments.segments
        for expected in mart_suite(site.policy, segment, at)
    }
    assert set(mart_check_specs(site)) == made


def test_every_mart_is_proved_by_both_parts_before_the_release(definitions: dg.Definitions, site: Site) -> None:
    """What a repeat of a build wants of its receipt is what a build checks."""
    graph = definitions.resolve_asset_graph()
    blocking = {key for key in graph.asset_check_keys if graph.get(key).blocking}
    marts = [site.key("marts", segment.name) for segment in site.policy.segments.segments]
    assert {dg.AssetCheckKey(mart, sentence) for mart in marts for sentence in SENTENCES.values()} <= blocking
    assert len(proof.wanted(site)) == len(SENTENCES) * len(marts) > 10
    assert {stage for stage, _ in proof.wanted(site)} <= REQUIRED_STAGES


def test_asset_prefix_and_upstream_assets_are_the_companys(landed: Path) -> None:
    site = Site.load(Settings(home=landed, asset_prefix=("acme", "assent")))
    keys = {spec.key for spec in assemble(site).resolve_all_asset_specs()}
    assert all(key.path[:2] == ["acme", "assent"] for key in keys)


def test_schedule_builds_the_day_that_has_closed(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("nightly_schedule")
    tick = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)  # 02:00 on the 22nd in Shanghai
    repository = definitions.get_repository_def()
    context = dg.build_schedule_context(scheduled_execution_time=tick, repository_def=repository)
    data = schedule.evaluate_tick(context)
    assert [request.partition_key for request in data.run_requests or ()] == ["2026-11-21"]
    assert schedule.execution_timezone == "Asia/Shanghai"


def test_consent_database_is_read_every_hour_where_there_is_one(site: Site) -> None:
    assert consent_table_schedules(site) == []
    table = site.policy.sources.consent_feeds[0].model_copy(update={"format": "table"})
    sources = site.policy.sources.model_copy(update={"consent_feeds": (table,)})
    (schedule,) = consent_table_schedules(replace(site, policy=site.policy.model_copy(update={"sources": sources})))
    tick = datetime(2026, 11, 21, 18, 30, tzinfo=UTC)
    data = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=tick))
    assert (schedule.job_name, len(data.run_requests or ())) == (RE_EXPORT, 1)


def test_end_of_a_day_belongs_to_it(site: Site) -> None:
    assert end_of_day(site, "2026-11-21") == datetime(2026, 11, 21, 16, tzinfo=UTC)
    assert day_of(site, end_of_day(site, "2026-11-21")) == "2026-11-21"


def test_backfill_names_its_day_as_a_range() -> None:
    """A run that found no day would build for now, and publish it."""
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    assert partition({"dagster/partition": "2026-11-21"}) == "2026-11-21"
    assert partition({first: "2026-11-21", last: "2026-11-21"}) == "2026-11-21"
    assert partition({}) is None
    with pytest.raises(dg.Failure, match="one run for each day"):
        partition({first: "2026-11-20", last: "2026-11-21"})


def test_part_of_the_assets_is_refused(landed: Path, copy_of: Callable[[Path], Path]) -> None:
    site = Site.load(Settings(home=copy_of(landed)))
    definitions = assemble(site, lock_wait=0)
    job = definitions.resolve_implicit_global_asset_job_def()
    with open_instance(site.home) as instance, pytest.raises(dg.DagsterResourceFunctionError) as caught:
        job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["lake", "web"])], partition_key="2026-11-21"
        )
    assert "only a part of the run was selected" in str(caught.value.__cause__)
    assert not (site.home.lake / "web").exists()


def test_whole_selection_is_not_refused() -> None:
    key = dg.AssetKey("a")
    run = dg.DagsterRun(job_name="build_job", asset_selection=frozenset({key}))
    refuse_partial(run, frozenset({key}), None)
    with pytest.raises(AssentError):
        refuse_partial(run, frozenset({key, dg.AssetKey("b")}), None)


@pytest.mark.fault("B12")
def test_locked_home_is_refused(landed: Path, copy_of: Callable[[Path], Path]) -> None:
    home = Home.open(copy_of(landed))
    import subprocess
    import sys

    code = "import sys; from pathlib import Path; from orchestration.home import Home\n"
    code += "with Home.open(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(HomeError, match=str(other.pid)):
            launch_build(Settings(home=home.root), as_of=None, now=datetime.fromisoformat(AS_OF))
        other.communicate("")


def test_failure_carries_no_value() -> None:
    canary = "canary@example.invalid"

    def work() -> None:
        raise ValueError(canary)

    with pytest.raises(dg.Failure) as caught:
        attempt(work)
    failure = caught.value
    assert canary not in str(failure.description)
    assert failure.__context__ is None
    assert failure.__cause__ is None


@pytest.mark.parametrize("value", ["a@b.example", "13800138000 ", None, ["x"]])
def test_metadata_takes_numbers_and_hashes_only(value: object) -> None:
    assert measured({"rows": 3, "sha256": "0f" * 32}) == {"rows": 3, "sha256": "0f" * 32}
    with pytest.raises(ValueError, match="secret") as caught:
        measured({"secret": value})  # type: ignore[dict-item]
    assert str(value) not in str(caught.value) or value is None


@pytest.mark.fault("E2")
def test_io_manager_stores_nothing() -> None:
    with pytest.raises(AssentError):
        RefusingIOManager().handle_output(dg.build_output_context(step_key="s", name="result"), {"a": 1})


def test_failed_stage_is_told_with_its_exit_code(landed: Path, copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(landed)
    notice = home.parent / "notice.json"
    settings = Settings(home=home, failure_command=f"tee {notice}")
    (home / "lake").chmod(0o700)
    (home / "ledger.sqlite").write_bytes(b"this is no database at all, and long enough to be read as one" * 20)
    (home / "ledger.sqlite").chmod(0o600)
    with pytest.raises(BuildFailedError, match="The published generation is unchanged"):
        launch_build(settings, as_of=datetime.fromisoformat(AS_OF), now=datetime.fromisoformat(AS_OF))
    assert "build_job" in notice.read_text()
