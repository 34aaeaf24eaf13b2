"""The command line: where options may stand, exit codes, and that it starts fast and says no values."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from orchestration.cli import COMMANDS, LazyGroup, guarded, root
from orchestration.errors import AssentError, ExitCode, HomeError
from orchestration.policy.loader import PolicyError, Problem
from orchestration.settings import Settings, load_settings

HEAVY = ("dagster", "duckdb", "pandas", "pyarrow", "great_expectations", "sqlalchemy")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['assent', '--help']\n"
        "from orchestration.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - start < 3  # 0.2 s on an idle machine; the bound is for a busy one


@pytest.mark.parametrize("before", [True, False])
def test_home_may_stand_before_or_after_the_command(
    before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Path, Path]] = []

    @click.command()
    @click.pass_obj
    def look(settings: Settings) -> None:
        seen.append((settings.home, load_settings().home))

    monkeypatch.delenv("ASSENT_HOME", raising=False)
    monkeypatch.setattr(LazyGroup, "get_command", lambda self, ctx, name: _shared(look))
    option = ["--home", str(tmp_path)]
    root.main([*option, "look"] if before else ["look", *option], standalone_mode=False, obj=load_settings())
    assert seen == [(tmp_path, tmp_path)]
    assert load_settings().home != tmp_path, "the choice ends with the command"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_shared_options(command: str) -> None:
    found = root.get_command(click.Context(root), command)
    assert found is not None
    of_group = isinstance(found, click.Group)
    runs_itself = not of_group or found.invoke_without_command  # type: ignore[attr-defined]
    for one in ([found] if runs_itself else []) + (list(found.commands.values()) if of_group else []):  # type: ignore[attr-defined]
        assert "--home" in {flag for param in one.params for flag in param.opts}, one.name


def _shared(command: click.Command) -> click.Command:
    from orchestration.cli import _sharing

    return _sharing(command)


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AssentError("it broke"), ExitCode.FAILED),
        (HomeError("it is locked"), ExitCode.HOME),
        (PolicyError([Problem("a.yaml", 1, "wrong", "Mend it")]), ExitCode.POLICY),
        (click.UsageError("no such option"), ExitCode.USAGE),
        (KeyboardInterrupt(), 130),
    ],
)
def test_error_becomes_exit_code(error: BaseException, code: int) -> None:
    assert guarded(lambda: fail(error)) == code


def test_unexpected_error_says_where_and_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: fail(ValueError("canary@example.invalid"))) == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "ValueError at" in said
    assert "test_cli.py" in said
    assert "canary" not in said
