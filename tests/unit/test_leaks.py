"""Where values might leak beside the files of the home: spill, core dumps, telemetry, exceptions, the command line."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import click
import duckdb
import pytest
import yaml
from sqlalchemy import URL, column, create_engine, exc, insert, table, text

from orchestration.cli import _without_identifiers, root
from orchestration.consent.database import sqlite
from orchestration.errors import ExitCode
from orchestration.home import Home
from orchestration.settings import QUIET, child_environment
from orchestration.warehouse.code_hash import DBT_PROJECT
from orchestration.warehouse.duckdb_settings import connect
from tests.leaks import forms, scan
from tests.pipeline.conftest import assent
from tests.unit.test_keys_before_writes import commands

EMAIL, PHONE = "canary_5c1d@example.invalid", "13977700424"
NEEDLES = {value: forms(value) for value in (EMAIL, PHONE)}
BUILDS = {"run", "demo", "dev", "replay"}  # processes of their own


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.mark.fault("E7")
def test_spilled_rows_stay_in_the_private_tmp_and_go_with_it(home: Home) -> None:
    """A query beyond its memory spills personal rows: only under tmp, which nobody else may enter; a sweep ends it."""
    con = connect(home)
    con.execute("SET memory_limit = '60MB'; SET threads = 1; SET temp_file_encryption = false")
    con.execute("CREATE TEMP TABLE t AS SELECT ? || range AS v, md5(range::VARCHAR) AS w FROM range(1500000)", [EMAIL])
    spilled = [Path(row[0]) for row in con.execute("SELECT path FROM duckdb_temporary_files()").fetchall()]
    assert spilled and all(home.tmp in path.parents for path in spilled)
    assert scan([home.root], NEEDLES), "the control: what spilled is there to be found"
    assert home.tmp.stat().st_mode & 0o077 == 0
    kept = home.tmp / "duckdb" / "left_by_a_kill.tmp"
    kept.write_bytes(spilled[0].read_bytes()[:1000] + EMAIL.encode())
    con.close()
    home.sweep()
    assert scan([home.root], NEEDLES) == {}


@pytest.mark.fault("E7")
def test_no_process_of_ours_leaves_a_core_dump(tmp_path: Path) -> None:
    """Neither the one that opens a home nor those that it starts. The control: before, a dump was allowed."""
    code = (
        "import resource, subprocess, sys\n"
        "from pathlib import Path\n"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0] != 0)\n"
        "from orchestration.home import Home\n"
        f"Home.open(Path({str(tmp_path / 'home')!r}))\n"
        "ask = 'import resource; print(resource.getrlimit(resource.RLIMIT_CORE))'\n"
        "print(subprocess.run([sys.executable, '-c', ask], capture_output=True, text=True).stdout.strip())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed, after = done.stdout.split("\n")[:2]
    assert after == "(0, 0)"
    assert allowed == "True" or resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, "this machine allows no dump anyway"


@pytest.mark.fault("E7")
def test_opening_a_home_forbids_core_dumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: asked.append((what, limits)))
    Home.open(tmp_path / "home")
    assert asked == [(resource.RLIMIT_CORE, (0, 0))]


@pytest.mark.fault("E9")
def test_telemetry_is_off_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    loud = {"DO_NOT_TRACK": "0", "DBT_SEND_ANONYMOUS_USAGE_STATS": "true", "DAGSTER_DISABLE_TELEMETRY": "",
            "GX_ANALYTICS_ENABLED": "true"}  # fmt: skip
    for name, value in loud.items():
        monkeypatch.setenv(name, value)
    assert {name: child_environment()[name] for name in loud} == {name: QUIET[name] for name in loud}
    project = yaml.safe_load((DBT_PROJECT / "dbt_project.yml").read_text("utf-8"))
    assert project["flags"]["send_anonymous_usage_stats"] is False
    instance = yaml.safe_load((DBT_PROJECT.parent / "orchestration" / "defs" / "dagster.yaml").read_text("utf-8"))
    assert instance["telemetry"]["enabled"] is False


@pytest.mark.fault("E4")
def test_database_errors_carry_no_values(home: Home) -> None:
    """SQLAlchemy puts the parameters of a failed statement into its message, unless it is told not to."""
    people = table("people", column("id"), column("email"))

    def message(engine: object) -> str:
        with engine.begin() as connection:  # type: ignore[attr-defined]
            connection.execute(text("CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, email TEXT NOT NULL)"))
            connection.execute(insert(people).values(id=1, email=EMAIL))
        with pytest.raises(exc.IntegrityError) as caught, engine.begin() as connection:  # type: ignore[attr-defined]
            connection.execute(insert(people).values(id=1, email=EMAIL))
        return str(caught.value)

    assert EMAIL in message(create_engine(f"sqlite:///{home.tmp / 'control.sqlite'}"))
    assert EMAIL not in message(sqlite.make_engine(URL.create("sqlite", database=str(home.tmp / "ours.sqlite"))))


@pytest.mark.fault("E4")
def test_duckdbs_error_of_a_cast_quotes_the_value_and_ours_do_not() -> None:
    """Why no text of DuckDB's leaves the modules that run it: the control of every `type(error).__name__` there."""
    with pytest.raises(duckdb.Error) as caught:
        duckdb.execute("SELECT CAST(? AS BIGINT)", [EMAIL])
    assert EMAIL in str(caught.value)


@pytest.mark.fault("E10")
@pytest.mark.parametrize("command", sorted(set(commands()) - BUILDS - {"keys restore"}))
@pytest.mark.parametrize("value", [EMAIL, PHONE, f"phone:e164:+86{PHONE}"])
def test_identifier_on_the_command_line_is_never_said_again(tmp_path: Path, command: str, value: str) -> None:
    """Typed as an argument where a file belongs, it is refused or taken for something else, and not repeated. (The file
    that `keys restore` cannot read is named, as it must be.)"""
    done = assent(tmp_path / "home", *command.split(), value)
    assert done.code != ExitCode.OK or command in TAKE_ANY_WORD, (command, done.out)
    assert value not in done.out + done.err and PHONE not in done.out + done.err, done.err


TAKE_ANY_WORD = {"policy check", "policy show"}


@pytest.mark.fault("E10")
def test_identifiers_come_by_file_or_stdin_only() -> None:
    """No command has an option or argument that takes somebody's identifier as its value."""
    takes: list[str] = []
    for name in commands():
        found: click.Command = root
        for word in name.split():
            found = found.get_command(click.Context(found), word) or found  # type: ignore[attr-defined]
        for parameter in found.params:
            if parameter.name in ("identifiers", "values", "value_file") and not isinstance(parameter.type, click.File):
                takes.append(f"{name} {parameter.name}")
    assert takes == []


@pytest.mark.parametrize(("said", "kept"), [
    (f"Got unexpected extra argument ({EMAIL})", "Got unexpected extra argument (…)"),
    (f"Invalid value for '--at': '{PHONE}'", "Invalid value for '--at': '…'"),
    ("Invalid value for '--at': '2026-11-22'", "Invalid value for '--at': '2026-11-22'"),
    ("No such command 'statsu'. Did you mean status?", "No such command 'statsu'. Did you mean status?"),
    ("Invalid value for '--port': 99999 is not in the range", "Invalid value for '--port': 99999 is not in the range"),
])  # fmt: skip
def test_usage_errors_lose_identifiers_and_nothing_else(said: str, kept: str) -> None:
    assert _without_identifiers(said).startswith(kept)
