"""The doctor finds what makes a home or a machine unfit."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration import doctor
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.settings import LedgerAt, Settings
from tests.anchored import grant, opened


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["dagster", "dev", "-h", "127.0.0.1"], True),
        (["/v/bin/python", "/v/bin/dagster", "dev", "-h", "0.0.0.0"], False),
        (["python", "-m", "dagster_webserver", "--host=10.0.0.5"], False),
        (["dagster-webserver", "-w", "workspace.yaml"], True),
        (["nginx", "-h", "0.0.0.0"], True),
    ],
)
def test_webserver_must_stay_on_loopback(arguments: list[str], passed: bool, tmp_path: Path) -> None:
    process = tmp_path / "4711"
    process.mkdir()
    (process / "cmdline").write_bytes("\0".join(arguments).encode() + b"\0")
    assert doctor.webserver(tmp_path).passed is passed


def test_file_that_others_may_read_is_found(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    assert doctor.permissions(home).passed
    leak = home.lake / "rows.parquet"
    leak.touch()
    leak.chmod(0o644)
    found = doctor.permissions(home)
    assert not found.passed
    assert "lake/rows.parquet" in found.detail


def test_home_open_to_others_is_found_with_a_remedy(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    home.root.chmod(0o755)
    bad = {finding.name: finding for finding in doctor.examine(Settings(home=home.root)) if not finding.passed}
    assert "chmod" in bad["home"].remedy


def test_checking_makes_neither_home_nor_keys(tmp_path: Path) -> None:
    list(doctor.examine(Settings(home=tmp_path / "none")))
    assert not (tmp_path / "none").exists()
    home = Home.open(tmp_path / "home")
    findings = {finding.name: finding for finding in doctor.examine(Settings(home=home.root))}
    assert findings["keys"].passed
    assert not home.master_key.exists()


def test_restore_that_has_not_ended_is_no_missing_home(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    home.begin_restore()
    last = list(doctor.examine(Settings(home=home.root)))[-1]
    assert (last.name, last.passed) == ("home", False)
    assert "assent restore" in last.remedy


def test_doctor_says_where_the_anchor_lies_and_whether_it_is_near(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    assert "another machine" in doctor.anchor(home, LedgerAt())
    with opened(home) as writer:
        writer.append(grant("g1"))
        writer.anchor.folder.rename(tmp_path / "away")
    assert not list((tmp_path / "home.anchor").iterdir())
    with pytest.raises(AssentError, match="missing"):
        doctor.anchor(home, LedgerAt())
    (tmp_path / "away").rename(writer.anchor.folder)
    assert "record 1 signed" in doctor.anchor(home, LedgerAt())


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second device")
def test_anchor_on_another_device_is_far(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    assert "another machine" not in doctor.anchor(home, LedgerAt(anchor=Path("/dev/shm/assent-no-anchor")))
    assert "another machine" in doctor.anchor(home, LedgerAt(anchor=tmp_path / "deep" / "down"))
