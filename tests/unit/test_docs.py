"""README, Makefile and command line say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestration.cli import COMMANDS
from orchestration.errors import ExitCode

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_in_readme(command: str) -> None:
    assert f"| `assent {command}` |" in README


def test_readme_names_only_commands_that_exist() -> None:
    named = set(re.findall(r"assent (?:--home \S+ )?([a-z]+)\b", _code(README)))
    assert named <= set(COMMANDS), named - set(COMMANDS)


def test_make_targets_are_those_of_the_readme() -> None:
    assert set(re.findall(r"make ([a-z][a-z-]*)", _code(README))) == TARGETS


def test_make_targets_have_help() -> None:
    helped = set(re.findall(r"^([a-z][a-z-]*):.*## ", MAKEFILE, flags=re.MULTILINE))
    assert helped == TARGETS


@pytest.mark.parametrize("code", ExitCode)
def test_exit_code_is_in_readme(code: ExitCode) -> None:
    assert f"| {int(code)} | " in README


def test_constraints_name_versions_and_no_hosts() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 100
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin) for pin in pins)


def _code(markdown: str) -> str:
    """Inline code and indented blocks: where commands are written."""
    blocks = [line for line in markdown.splitlines() if line.startswith("    ")]
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", markdown)])
