"""The home: private, of one kind, locked by one process; and atomic writes and settings beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestration.atomic import write_json
from orchestration.errors import AssentError, ExitCode, HomeError
from orchestration.home import FOLDERS, Home
from orchestration.settings import SECRET, child_environment, load_settings, source_url


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_new_home_is_private(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    assert {mode(getattr(home, name)) for name in FOLDERS} == {0o700}
    assert (mode(home.root), mode(home.file)) == (0o700, 0o600)
    (home.tmp / "x").write_text("x")
    assert mode(home.tmp / "x") == 0o600
    assert home.info.kind == "company"


def test_home_beside_landing_files_is_made_but_not_in_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    Home.open(tmp_path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.doc").write_text("x")
    with pytest.raises(HomeError, match="not empty"):
        Home.open(foreign)
    with pytest.raises(HomeError, match="no home here"):
        Home.open(tmp_path / "absent", create=False)


@pytest.mark.parametrize(("name", "bits"), [("root", 0o755), ("root", 0o740), ("lake", 0o750), ("keys", 0o701)])
def test_folder_open_to_others_is_refused(tmp_path: Path, name: str, bits: int) -> None:
    home = Home.open(tmp_path / "home")
    getattr(home, name).chmod(bits)
    with pytest.raises(HomeError, match="others may read it") as caught:
        Home.open(home.root)
    assert caught.value.exit_code == ExitCode.HOME


@pytest.mark.parametrize("name", ["vault_db", "keys_db", "ledger_db", "master_key", "file"])
def test_file_open_to_others_is_refused(tmp_path: Path, name: str) -> None:
    home = Home.open(tmp_path / "home")
    path: Path = getattr(home, name)
    path.touch()
    path.chmod(0o644)
    with pytest.raises(HomeError, match="others may read it"):
        Home.open(home.root)


def test_shared_outbox_opens_nothing_else(tmp_path: Path) -> None:
    import grp

    home = Home.open(tmp_path / "home")
    home.share_outbox(grp.getgrgid(os.getgid()).gr_name)
    assert (mode(home.root), mode(home.outbox), mode(home.lake)) == (0o710, 0o750, 0o700)
    Home.open(home.root)
    with pytest.raises(HomeError, match="group does not exist"):
        home.share_outbox("no_such_group")
    home.share_outbox(None)
    assert (mode(home.root), mode(home.outbox)) == (0o700, 0o700)


def test_demo_home_keeps_its_seed_and_its_landing(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home", demo_seed=7)
    assert (home.info.kind, home.info.seed) == ("demo", 7)
    home.check_landing(home.landing)
    with pytest.raises(HomeError, match="demo home refuses"):
        home.check_landing(tmp_path)
    with pytest.raises(HomeError, match="not that demo's"):
        Home.open(home.root, demo_seed=8)
    company = Home.open(tmp_path / "company")
    company.check_landing(tmp_path)
    with pytest.raises(HomeError, match="not that demo's"):
        Home.open(company.root, demo_seed=7)


def test_damaged_home_file_is_said_so(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    home.file.write_text("{")
    with pytest.raises(HomeError, match="damaged"):
        _ = home.info


@pytest.mark.fault("B12")
def test_lock_names_the_process_that_holds_it(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    code = (
        "import sys; from pathlib import Path; from orchestration.home import Home\n"
        "with Home.open(Path(sys.argv[1])).lock():\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(HomeError, match=f"process {other.pid} is using"), home.lock(timeout=0.1):
            pass
        other.kill()
        other.wait()
        with home.lock(timeout=5):  # a killed holder holds nothing
            pass


def test_lock_is_entered_again_by_its_thread_only(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    refused: list[str] = []

    def enter() -> None:
        try:
            with home.lock():
                pass
        except HomeError as error:
            refused.append(str(error))

    with home.lock():
        with home.lock():
            pass
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(refused) == 1
    enter()
    assert len(refused) == 1


def test_sweep_clears_leftovers_only(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    for folder in (home.tmp, home.building, home.lake):
        (folder / "left").write_text("x")
        (folder / "folder").mkdir()
    with home.lock():
        home.sweep()
    assert [*home.tmp.iterdir(), *home.building.iterdir()] == []
    assert len(list(home.lake.iterdir())) == 2


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert mode(path) == 0o600
    assert [child.name for child in tmp_path.iterdir()] == ["x.json"]


def test_settings_come_from_the_environment_and_hide_secrets() -> None:
    settings = load_settings(
        {"ASSENT_HOME": "/h", "ASSENT_LEDGER_URL": "postgresql://u:pw@h/d", "ASSENT_ASSET_PREFIX": "a/b"}
    )
    assert settings.home == Path("/h")
    assert settings.ledger_url == "postgresql://u:pw@h/d"
    assert settings.asset_prefix == ("a", "b")
    assert "pw" not in repr(settings)
    assert load_settings({}).home == Path("data/home")


@pytest.mark.parametrize("value", ["False", "false", "0", "no", ""])
def test_validation_switched_off_is_refused(value: str) -> None:
    with pytest.raises(AssentError, match="validation is switched off"):
        load_settings({"PANDERA_VALIDATION_ENABLED": value})
    load_settings({"PANDERA_VALIDATION_ENABLED": "True"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PANDERA_VALIDATION_ENABLED", "TRUE"),  # pandera reads it as no
        ("PANDERA_VALIDATION_DEPTH", "SCHEMA_ONLY"),  # columns only, no value is looked at
        ("PANDERA_VALIDATION_DEPTH", "DATA_ONLY"),
        ("PANDERA_USE_NARWHALS_BACKEND", "True"),
    ],
)
def test_validation_that_is_only_half_is_refused(name: str, value: str) -> None:
    with pytest.raises(AssentError, match="validation is switched off"):
        load_settings({name: value})


def test_source_url_is_needed_and_children_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_url("SHOP_URL", {"SHOP_URL": "sqlite:///x"}) == "sqlite:///x"
    with pytest.raises(AssentError, match="SHOP_URL"):
        source_url("SHOP_URL", {})
    monkeypatch.setenv(SECRET[0], "postgresql://u:pw@h/d")
    environment = child_environment({"X": "1"})
    assert SECRET[0] not in environment
    assert (environment["X"], environment["DO_NOT_TRACK"]) == ("1", "1")
