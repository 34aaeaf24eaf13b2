"""`assent dev` for real: a withdrawal, a killed run and a backfill, all by Dagster's own daemon. Slow: minutes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import QUIET, child_environment
from tests.pipeline.conftest import Finished
from tests.pipeline.test_withdrawal import CONTACT, audience, withdraw

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 300
RUNS = "{runsOrError(limit: 20) {... on Runs {results {runId jobName status tags {key value}}}}}"
LAUNCH = "mutation($with: ExecutionParams!) {launchRun(executionParams: $with) {__typename}}"
BACKFILL = "mutation($with: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $with) {__typename}}"


class Served:
    """The home that is served, and its GraphQL."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.url = home, f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **given: object) -> Any:
        body = json.dumps({"query": query, "variables": given}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def runs(self) -> list[dict[str, Any]]:
        """Newest first."""
        found: list[dict[str, Any]] = self.ask(RUNS)["runsOrError"]["results"]
        return found

    def wait(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < deadline, [(run["jobName"], run["status"]) for run in self.runs()]
            time.sleep(1)

    def build(self, day: str) -> None:
        where = {"repositoryLocationName": "assent", "repositoryName": "__repository__", "pipelineName": "build_job"}
        tags = {"tags": [{"key": "dagster/partition", "value": day}]}
        given = {"selector": where, "runConfigData": {}, "mode": "default", "executionMetadata": tags}
        assert self.ask(LAUNCH, **{"with": given})["launchRun"]["__typename"] == "LaunchRunSuccess"


@pytest.fixture
def served(built: tuple[Path, Finished], copy_of: Callable[[Path], Path]) -> Iterator[Served]:
    home = copy_of(built[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", "dev", "--port", str(port)]
    environment = child_environment({**QUIET, "ASSENT_HOME": str(home)})
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        try:
            server = Served(home, port)
            server.wait(lambda: answers(server))
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def answers(server: Served) -> bool:
    try:
        return "runsOrError" in server.ask(RUNS)
    except OSError:
        return False


def test_daemon_obeys_a_withdrawal_a_kill_and_a_backfill(served: Served) -> None:
    home = served.home
    assert withdraw(home).code == 0
    served.wait(lambda: [run["status"] for run in served.runs() if run["jobName"] == "re_export_job"] == ["SUCCESS"])
    rows, _, _ = audience(home, "consulted_not_bought_30", "sms_gateway")
    assert rows
    assert CONTACT not in {row["contact"] for row in rows}

    served.build("2026-11-21")
    served.wait(lambda: served.runs()[0]["status"] == "STARTED" and (home / "tmp" / "notes").is_dir())
    os.kill(int((home / "lock").read_text()), signal.SIGKILL)
    served.wait(lambda: statuses(served, "build_job")[:2] == ["SUCCESS", "FAILURE"])

    pointer = (home / "warehouse" / "published.json").read_bytes()
    nodes = served.ask("{assetNodes {assetKey {path} isMaterializable}}")["assetNodes"]
    keys = [{"path": node["assetKey"]["path"]} for node in nodes if node["isMaterializable"]]
    days = ["2026-11-18", "2026-11-19"]
    asked = served.ask(BACKFILL, **{"with": {"assetSelection": keys, "partitionNames": days}})
    assert asked["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess"
    served.wait(lambda: statuses(served, "__ASSET_JOB") == ["SUCCESS", "SUCCESS"])
    assert (home / "warehouse" / "published.json").read_bytes() == pointer, "older days are evidence only"
    built_for = {json.loads(path.read_bytes())["as_of"][:10] for path in home.glob("evidence/*/summary.json")}
    assert set(days) <= built_for


def statuses(served: Served, job: str) -> list[str]:
    return [run["status"] for run in served.runs() if run["jobName"] == job]
