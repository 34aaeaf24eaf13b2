"""Parts of the proof in processes of their own: what they find, and what becomes of them where they or others fail."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.errors import AssentError, ExitCode
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.proof.beside import _SEARCH, PartFailedError, SearchBeside, StaticBeside, _serve
from orchestration.proof.canaries import CanarySearch
from orchestration.proof.static import prove_statically
from orchestration.proof.verdict import are_proved
from orchestration.retention.respond import Site
from tests.proof_world import MART, MODELS, project

BY_PURPOSE = "intermediate.int_touchpoints_gated_by_purpose"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(Home.open(tmp_path / "home", demo_seed=7), load_policy(), Keys.from_seed(7))


def controls(site: Site) -> list[Path]:
    return [*site.home.root.rglob("assent-control-*")]


@pytest.mark.parametrize("is_leaked", [False, True])
def test_it_finds_what_a_search_in_this_process_finds(site: Site, is_leaked: bool) -> None:
    if is_leaked:
        (site.home.root / "evidence" / "note.txt").write_bytes(site.keys.master)
    for _ in range(2):  # the first makes the vault and the registry of a new home
        with CanarySearch(site, seed=1, is_full=True) as search:
            here = search.run()
    with SearchBeside() as beside:
        beside.begin(site, seed=1, is_full=True)
        beside.wait_for_list()
        (site.home.root / "evidence" / "later.txt").write_bytes(site.keys.master)
        verdicts, searched, seconds = beside.result()
    assert verdicts == here.verdicts()
    assert searched | {"bytes": 0} == here.as_json() | {"bytes": 0}  # a packed control is longer or shorter
    assert are_proved(verdicts) is not is_leaked
    assert seconds > 0 and controls(site) == []


@pytest.mark.parametrize("when", ["before it is asked", "while it searches"])
def test_where_it_is_killed_nothing_is_proved_and_nothing_stays(site: Site, when: str) -> None:
    beside = SearchBeside()
    if when == "before it is asked":
        os.kill(beside._process.pid or 0, signal.SIGKILL)
        beside._process.join()
    with pytest.raises(PartFailedError, match="without a result"), beside:
        beside.begin(site, seed=1, is_full=True)
        beside.wait_for_list()
        os.kill(beside._process.pid or 0, signal.SIGKILL)
        beside.result()
    assert controls(site) == []


def test_where_another_part_fails_it_ends_and_nothing_stays(site: Site) -> None:
    with pytest.raises(AssentError, match="another part"), SearchBeside() as beside:
        beside.begin(site, seed=1, is_full=True)
        beside.wait_for_list()
        raise AssentError("another part")
    assert not beside._process.is_alive() and controls(site) == []


_BEGUN = """
import os, signal, sys
from pathlib import Path
if sys.argv[2] == "threads":
    import duckdb
from orchestration.proof.beside import SearchBeside, StaticBeside

beside = SearchBeside()  # before the rest, as the command does
static = StaticBeside(beside)
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.proof.verdict import are_proved
from orchestration.retention.respond import Site

with beside, static:
    print(type(beside._process).__name__, beside._process.pid, static._process.pid, flush=True)
    if sys.argv[3] == "killed before it asked":
        os.kill(os.getpid(), signal.SIGKILL)
    beside.begin(Site(Home.open(Path(sys.argv[1])), load_policy(), Keys.from_seed(7)), seed=1, is_full=True)
    beside.wait_for_list()
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    verdicts, _, _ = beside.result()
    print(are_proved(verdicts))
"""
WAYS = {"none": "ForkProcess" if sys.platform == "linux" else "SpawnProcess", "threads": "SpawnProcess"}


def begun(site: Site, threads: str, end: str) -> tuple[int, list[int], list[str]]:
    """Exit code, numbers of the parts' processes, and what was printed after them, by a process that is like a
    command."""
    command = [sys.executable, "-c", _BEGUN, str(site.home.root), threads, end]
    out, err = site.home.root.with_name("out"), site.home.root.with_name("err")  # of pipes a search that stays has hold
    with out.open("w") as stdout, err.open("w") as stderr:
        done = subprocess.run(
            command, stdout=stdout, stderr=stderr, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, check=False
        )
    way, search, static, *rest = out.read_text().split()
    assert way == WAYS[threads] and err.read_text() == ""
    return done.returncode, [int(search), int(static)], rest


@pytest.mark.parametrize("threads", WAYS)
@pytest.mark.parametrize("is_leaked", [False, True])
def test_it_is_forked_where_there_are_no_threads_and_finds_the_same(site: Site, threads: str, is_leaked: bool) -> None:
    if is_leaked:
        (site.home.root / "evidence" / "note.txt").write_bytes(site.keys.master)
    code, numbers, rest = begun(site, threads, "waited")
    assert (code, rest) == (0, [str(not is_leaked)])
    assert not any(map(is_running, numbers)) and controls(site) == []


@pytest.mark.parametrize("threads", WAYS)
@pytest.mark.parametrize("end", ["killed", "killed before it asked"])
def test_where_the_process_that_asked_is_killed_it_ends_and_removes_its_controls(
    site: Site, threads: str, end: str
) -> None:
    code, numbers, _ = begun(site, threads, end)
    assert code == -signal.SIGKILL
    last = time.monotonic() + 60
    while any(map(is_running, numbers)) and time.monotonic() < last:
        time.sleep(0.1)
    left = [number for number in numbers if is_running(number)]
    for number in left:
        os.kill(number, signal.SIGKILL)
    assert not left and controls(site) == []


def is_running(number: int) -> bool:
    """A zombie, which nobody waits for in a container without an init, is not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_its_errors_are_told_as_they_are(site: Site) -> None:
    site.home.file.unlink()
    with pytest.raises(PartFailedError, match="there is no home here") as error, SearchBeside() as beside:
        beside.begin(site, seed=1, is_full=True)
        beside.wait_for_list()
    assert error.value.exit_code == ExitCode.HOME and "assent demo" in error.value.remedy


def test_words_of_others_are_not_told(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """An error that nobody expected may quote a value."""
    broken = replace(site, policy="+8613800138000")  # type: ignore[arg-type]
    with pytest.raises(PartFailedError) as error, SearchBeside() as beside:
        beside.begin(broken, seed=1, is_full=True)
        beside.wait_for_list()
    assert "AttributeError" in str(error.value)
    said = capfd.readouterr()
    assert "138" not in said.out + said.err + str(error.value) and "Traceback" not in said.err


def test_words_of_others_are_not_told_where_nobody_listens_any_more(site: Site) -> None:
    """A traceback of the broken pipe would quote the error that was to be sent."""

    class Gone:
        def recv(self) -> object:
            return replace(site, policy="+8613800138000"), 1, True, ()  # type: ignore[arg-type]

        def send(self, _: object) -> None:
            raise BrokenPipeError

    _serve(_SEARCH, Gone(), gc.get_threshold())  # type: ignore[arg-type]
    assert controls(site) == []


def test_process_that_nobody_asks_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with SearchBeside() as beside:
        pass
    assert beside._process.exitcode == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("is_sound", [True, False])
def test_static_proof_beside_finds_what_it_finds_here(is_sound: bool) -> None:
    ungated = {BY_PURPOSE: MODELS[BY_PURPOSE].replace(" and (t.permitted_mask & s.scope_mask) <> 0", "")}
    models, policy, now = project({} if is_sound else ungated), load_policy(), datetime(2026, 11, 22, tzinfo=UTC)
    with StaticBeside() as beside:
        beside.begin(models, policy, as_of=now)
        verdicts, seconds = beside.result()
    assert tuple(verdicts) == tuple(prove_statically(models, policy, as_of=now))
    assert [verdict.is_proved for verdict in verdicts if verdict.relation == MART] == [is_sound]
    assert seconds > 0


@pytest.mark.parametrize("is_asked", [True, False])
def test_static_proof_beside_that_is_killed_proves_nothing(is_asked: bool) -> None:
    beside = StaticBeside()
    os.kill(beside._process.pid or 0, signal.SIGSTOP if is_asked else signal.SIGKILL)
    if not is_asked:
        beside._process.join()
    with pytest.raises(PartFailedError, match="the static proof ended without a result") as error, beside:
        beside.begin(project(), load_policy(), as_of=datetime(2026, 11, 22, tzinfo=UTC))
        os.kill(beside._process.pid or 0, signal.SIGKILL)
        beside.result()
    assert "--static" in error.value.remedy


def test_words_of_others_are_not_told_of_the_static_proof(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PartFailedError, match="the static proof failed") as error, StaticBeside() as beside:
        beside.begin(project(), "+8613800138000", as_of=datetime(2026, 11, 22, tzinfo=UTC))  # type: ignore[arg-type]
        beside.result()
    said = capfd.readouterr()
    assert "138" not in said.out + said.err + str(error.value) and "Traceback" not in said.err
