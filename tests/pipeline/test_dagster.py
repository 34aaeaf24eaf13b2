"""What starts runs, what they do beside a build, and how Assent sits beside a company's other code."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest
import yaml

from orchestration.defs.assembly import assemble
from orchestration.defs.instance import open_instance
from orchestration.defs.jobs import BUILD, RE_EXPORT
from orchestration.defs.launch import BuildFailedError, launch_build
from orchestration.defs.sensors import NEWS_TAG, consent_withdrawal_sensor, landing_sensor
from orchestration.defs.site import Site
from orchestration.settings import Settings
from orchestration.warehouse.publish import published
from tests.markers import mark
from tests.pipeline.conftest import AS_OF, Finished
from tests.pipeline.test_withdrawal import CONTACT, PERSONA, audience, withdraw

RETAIL = Path(__file__).parents[2] / "data" / "examples" / "retail"
NOW = datetime.fromisoformat(AS_OF)
Built = tuple[Path, Finished]
Copy = Callable[[Path], Path]


def tick(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorExecutionData:
    repository = dg.Definitions(sensors=[sensor], jobs=[stand_in(BUILD), stand_in(RE_EXPORT)]).get_repository_def()
    return sensor.evaluate_tick(
        dg.build_sensor_context(instance, cursor, repository_def=repository, sensor_name=sensor.name)
    )


def stand_in(name: str) -> dg.JobDefinition:
    @dg.op(name=f"{name}_op")
    def nothing() -> None: ...

    days = dg.StaticPartitionsDefinition(["2026-11-21"]) if name == BUILD else None
    return dg.GraphDefinition(name=name, node_defs=[nothing]).to_job(name=name, partitions_def=days)


@pytest.fixture
def settled(built: Built, copy_of: Copy) -> Site:
    return Site.load(Settings(home=copy_of(built[0])))


def test_landing_sensor_waits_until_files_stop_changing(tmp_path: Path) -> None:
    site = Site.load(Settings(home=tmp_path / "home"))
    sensor, cursor = landing_sensor(site, lambda: NOW), None
    (site.landing / "web").mkdir()
    with dg.DagsterInstance.ephemeral() as instance:

        def asked() -> list[dg.RunRequest]:
            nonlocal cursor
            data = tick(sensor, instance, cursor)
            cursor = data.cursor
            return list(data.run_requests or ())

        assert asked() == []
        file = site.landing / "web" / "tag-2026-11-21.jsonl.gz"
        file.write_bytes(b"half")
        assert asked() == asked() == [], "no completion marker: it is not there yet"
        file.with_name(file.name + ".done").touch()
        assert asked() == [], "it has just come"
        file.write_bytes(b"whole")
        assert asked() == [], "it still changes"
        (request,) = asked()
        assert request.partition_key == "2026-11-21"
        assert asked() == [], "asked once"
        file.unlink()
        assert asked() == asked() == []


def test_withdrawal_sensor_asks_once_and_again_after_a_failure(settled: Site) -> None:
    now = datetime.now(UTC)
    sensor = consent_withdrawal_sensor(settled, lambda: now)
    with dg.DagsterInstance.ephemeral() as instance:
        assert tick(sensor, instance).run_requests == []
        assert withdraw(settled.home.root).code == 0
        (request,) = tick(sensor, instance).run_requests or ()
        assert PERSONA not in json.dumps(request.tags) + str(request.run_key)
        run = instance.create_run_for_job(stand_in(RE_EXPORT), tags=request.tags)
        assert tick(sensor, instance).run_requests == [], "one is under way"
        instance.report_run_failed(run)
        assert tick(sensor, instance).run_requests == [], "not at once after a failure"
        now += timedelta(minutes=5)
        (again,) = tick(sensor, instance).run_requests or ()
        assert again.run_key != request.run_key
        assert again.tags[NEWS_TAG] == request.tags[NEWS_TAG]


@pytest.mark.fault("D4")
def test_withdrawal_sensor_does_not_take_another_ledger_for_no_news(settled: Site) -> None:
    """One that was cut, or the empty one of a daemon without ASSENT_LEDGER_URL: the re-export refuses it aloud."""
    for file in settled.home.root.glob("ledger.sqlite*"):
        file.unlink()
    with dg.DagsterInstance.ephemeral() as instance:
        assert tick(consent_withdrawal_sensor(settled, lambda: NOW), instance).run_requests


def test_re_export_takes_the_withdrawn_out_without_a_build(settled: Site) -> None:
    """One audience loses one person, and falls under a minimum that it had just reached."""
    root, segment, place = settled.home.root, "consulted_not_bought_30", "sms_gateway"
    before, manifest, _ = audience(root, segment, place)
    other, _, _ = audience(root, segment, "wechat_broadcast")
    assert CONTACT in {row["contact"] for row in before}
    pointer = settled.home.published.read_bytes()
    raised = [
        s.model_copy(update={"minimum_size": len(before)}) if s.name == segment else s
        for s in settled.policy.segments.segments
    ]
    assert len(other) != len(before)
    withdraw(root)
    run_re_export(settled)
    after, later, folder = audience(root, segment, place)
    assert later["generation"] == manifest["generation"]
    assert settled.home.published.read_bytes() == pointer
    assert {row["contact"] for row in before} - {row["contact"] for row in after} == {CONTACT}
    assert CONTACT in removals(folder)
    segments = settled.policy.segments.model_copy(update={"segments": tuple(raised)})
    run_re_export(replace(settled, policy=settled.policy.model_copy(update={"segments": segments})))
    rows, withheld, folder = audience(root, segment, place)
    assert rows == []
    assert withheld["status"] == "withheld"
    assert withheld["withheld"]["below_minimum_size"] == len(before) - 1
    assert removals(folder) >= {row["contact"] for row in before}


def run_re_export(site: Site) -> None:
    with open_instance(site.home) as instance:
        done = assemble(site).resolve_job_def(RE_EXPORT).execute_in_process(instance=instance)
    assert done.success
    made = [event.asset_key for event in done.all_events if event.is_step_materialization]
    assert {key.path[0] for key in made if key} == {"exports"}


def removals(folder: Path) -> set[str]:
    with (folder / "removals.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["contact"] for row in csv.DictReader(file)}


def test_source_that_is_waited_for_stops_the_build(landed: Path, copy_of: Copy) -> None:
    site = Site.load(Settings(home=copy_of(landed)))
    for file in site.landing.rglob("*-2026*"):
        if "2026-11-21" not in file.name:
            file.unlink()
    (site.landing / "web" / "tag-2026-11-21.jsonl.gz.done").unlink()
    sources = site.policy.sources
    waits = tuple(s.model_copy(update={"late": "wait"}) if s.name == "web" else s for s in sources.sources)
    policy = site.policy.model_copy(update={"sources": sources.model_copy(update={"sources": waits})})
    job = assemble(replace(site, policy=policy)).resolve_job_def(BUILD)
    with open_instance(site.home) as instance:
        done = job.execute_in_process(instance=instance, partition_key="2026-11-21", raise_on_error=False)
    failures = {e.step_key: e.step_failure_data.user_failure_data for e in done.all_events if e.is_step_failure}
    assert list(failures) == ["lake__web"]
    told = failures["lake__web"]
    assert told is not None
    assert "web: the build waits for 2026-11-21: web/tag-2026-11-21.jsonl.gz has no completion marker .done" in str(
        told.description
    )
    assert published(site.home) is None
    assert not list(site.home.outbox.rglob("*"))


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[bytes]]]:
    """A server on this machine, and the bodies that it was sent."""
    bodies: list[bytes] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Take) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", bodies
        server.shutdown()
        thread.join()


def test_failed_run_is_told_to_the_webhook_without_values(settled: Site, webhook: tuple[str, list[bytes]]) -> None:
    url, bodies = webhook
    site = replace(settled, settings=replace(settled.settings, failure_webhook=url))
    (site.landing / "consent" / "events-2026-11-22.jsonl").write_text(json.dumps({"phone": CONTACT}) + "\n")
    mark(site.landing / "consent" / "events-2026-11-22.jsonl")
    con = sqlite3.connect(site.home.ledger_db)
    con.execute("PRAGMA writable_schema = on")
    con.execute(f"UPDATE sqlite_schema SET sql = 'CREATE TABLE \"{CONTACT}\" (' WHERE type = 'table'")
    con.commit()
    con.close()
    definitions = assemble(site)
    with open_instance(site.home) as instance:
        done = definitions.resolve_job_def(RE_EXPORT).execute_in_process(instance=instance, raise_on_error=False)
        assert not done.success
        context = dg.build_run_status_sensor_context(
            "failure_sensor", done.get_run_failure_event(), instance, done.dagster_run
        ).for_run_failure()
        definitions.resolve_sensor_def("failure_sensor")(context)
        events = "".join(str(entry) for entry in instance.all_logs(done.run_id))
    (body,) = bodies
    notice = json.loads(body)
    assert notice["run_id"] == done.run_id
    assert notice["failed_steps"] == ["import_consent"]
    assert CONTACT not in body.decode() + events


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A company's policy whose one source is a table of theirs, made by an asset of theirs."""
    rows = [("536365", "A1", "mug", 6, f"2026-01-0{n % 3 + 1} 08:26:00", 2.55, 17850 + n, "GB") for n in range(9)]
    names = "InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country"
    con = sqlite3.connect(tmp_path / "erp.db")
    con.execute(f"create table till_lines ({names})")
    con.executemany(f"insert into till_lines values ({', '.join('?' * 8)})", rows)
    con.commit()
    con.close()
    monkeypatch.setenv("ERP_URL", f"sqlite:///{tmp_path / 'erp.db'}")
    folder = tmp_path / "policy"
    for file in (path for path in RETAIL.rglob("*") if path.is_file()):
        (folder / file.relative_to(RETAIL)).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.relative_to(RETAIL)).write_bytes(file.read_bytes())
    sources = yaml.safe_load((RETAIL / "sources.yaml").read_text(encoding="utf-8"))
    (till,) = sources["sources"]
    till["upstream_assets"] = [["erp", "till_lines"]]
    feed = till["feeds"][0]
    del feed["path"]
    feed |= {"format": "table", "url_env": "ERP_URL", "table": "till_lines"}
    (folder / "sources.yaml").write_text(yaml.safe_dump(sources, allow_unicode=True), encoding="utf-8")
    return Settings(home=tmp_path / "beside", policy_dir=folder, asset_prefix=("marketing", "assent"))


@pytest.mark.slow
def test_their_table_is_a_source_under_their_prefix(beside: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = assemble(Site.load(beside)).resolve_asset_graph()
    ours = {key for key in graph.get_all_asset_keys() if key.path[:2] == ["marketing", "assent"]}
    theirs = dg.AssetKey(["erp", "till_lines"])
    assert graph.get_all_asset_keys() - ours <= {theirs}
    landing, lake = (dg.AssetKey(["marketing", "assent", layer, "till"]) for layer in ("landing", "lake"))
    assert theirs in graph.get(landing).parent_keys
    assert theirs in graph.get_ancestor_asset_keys(lake)
    assert {"table"} <= set(graph.get(landing).kinds)
    at, url = datetime(2026, 1, 5, tzinfo=UTC), os.environ["ERP_URL"]
    monkeypatch.delenv("ERP_URL")
    with pytest.raises(BuildFailedError, match="ERP_URL: the variable is not set"):
        launch_build(beside, as_of=at, now=at)
    monkeypatch.setenv("ERP_URL", url)
    site = launch_build(beside, as_of=at, now=at)
    current = published(site.home)
    assert current is not None
    summary = json.loads((site.home.evidence / current.generation / "summary.json").read_bytes())
    till = summary["sources"]["till"]
    assert (till["read"], till["accepted"], till["refused_files"]) == (9, 9, 0)
    assert all((found["permit"], sum(found["deny"].values())) == (0, 9) for found in summary["decisions"].values())
