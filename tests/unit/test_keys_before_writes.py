"""No command writes under a key that is lost, wrong or damaged: it stops before its first write (D7, D9)."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from orchestration.cli import COMMANDS, root
from orchestration.errors import ExitCode
from tests.pipeline.conftest import assent
from tests.unit.ingestion_world import World, row

WHO = "account:shop:a1\n"
# Every command that writes to a home that is there, with arguments that would let it; {out} is a file elsewhere.
WRITES: dict[str, tuple[str, str]] = {
    "run": ("", ""),
    "export": ("", ""),
    "explain": ("--segment wechat_engaged --identifier-file -", WHO),
    "replay": ("", ""),
    "prove": ("--canaries", ""),
    "request access": ("--identifier-file -", WHO),
    "request readmit": ("--identifier-file -", WHO),
    "request erase": ("--identifier-file -", WHO),
    "request restrict": ("--identifier-file -", WHO),
    "request rectify": ("--identifier-file -", WHO),
    "request confirm": ("0" * 8, ""),
    "request undo": ("0" * 8, ""),
    "request close": ("0" * 8, ""),
    "request take": ("", ""),
    "erase": ("", ""),
    "consent import": ("", ""),
    "consent withdraw": ("--identifier-file - --controller shop --all", WHO),
    "minimise": ("", ""),
    "retention run": ("", ""),
    "keys rotate": ("", ""),
    "keys backup": ("{out}", "correct horse battery\n"),
    "backup": ("{out}", "correct horse battery\n"),
}
# Those that only read, make another home, or need no key because nothing in the home is of a person.
READS = {
    "demo", "status", "segments", "diff", "withdrawals", "request list", "request show", "consent decode",
    "consent requests", "consent receipt", "consent receipts", "consent vocabulary", "consent notice",
    "consent notify-list", "consent state", "consent history", "ledger migrate", "ledger head", "policy check",
    "policy schema", "policy show", "retention plan", "keys init", "keys check", "keys restore", "restore", "verify",
    "verify ledger", "verify script", "verify export", "verify generation", "doctor", "dev", "lineage",
}  # fmt: skip


def commands() -> Iterator[str]:
    def walk(command: click.Command, path: str) -> Iterator[str]:
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield path
            for name, below in command.commands.items():
                yield from walk(below, f"{path} {name}")
        else:
            yield path

    context = click.Context(root)
    for name in COMMANDS:
        found = root.get_command(context, name)
        assert found is not None
        yield from walk(found, name)


def test_every_command_is_known_to_write_or_to_read() -> None:
    """A new command must say here which it is: one that writes is then held to its keys."""
    assert set(commands()) == WRITES.keys() | READS
    assert not WRITES.keys() & READS


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own keys with touchpoints, links, vault and registry."""
    world = World.make(tmp_path_factory.mktemp("kept"), {"format": "jsonl", "path": "s.jsonl"})
    world.put("s.jsonl", [row(1, phone="13812345678"), row(2)])
    assert world.ingest().accepted == 2
    return world.home.root


def lose(key: Path) -> None:
    key.unlink()


def swap(key: Path) -> None:
    key.write_text("ab" * 32 + "\n")


def damage(key: Path) -> None:
    key.write_text(key.read_text()[:-3])


def bytes_of(home: Path) -> dict[str, str]:
    """What the home holds; its lock names whoever looked last."""
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.fault("D7")
@pytest.mark.fault("D9")
@pytest.mark.parametrize("spoil", [lose, swap, damage])
@pytest.mark.parametrize("command", WRITES)
def test_no_command_writes_under_a_wrong_key(
    kept: Path, tmp_path: Path, command: str, spoil: Callable[[Path], None]
) -> None:
    if command == "run" and spoil is not swap:
        pytest.skip("a process of its own takes seconds: once is enough")
    home = shutil.copytree(kept, tmp_path / "home")
    spoil(home / "keys" / "master.key")
    before = bytes_of(home)
    arguments, said = WRITES[command]
    given = [*command.split(), *arguments.format(out=tmp_path / "out").split()]
    done = assent(home, *given, stdin=said)
    assert done.code == ExitCode.HOME, (done.out, done.err)
    assert "key" in done.err and "keys restore" in done.err, done.err
    assert bytes_of(home) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["consent withdraw", "keys rotate", "keys backup"])
def test_with_its_own_key_the_same_command_writes(kept: Path, tmp_path: Path, command: str) -> None:
    """The control of the test above: it is the key that stops them."""
    home = shutil.copytree(kept, tmp_path / "home")
    before = bytes_of(home)
    arguments, said = WRITES[command]
    done = assent(home, *command.split(), *arguments.format(out=tmp_path / "out").split(), stdin=said * 2)
    assert done.code == ExitCode.OK, (done.out, done.err)
    assert bytes_of(home) != before or (tmp_path / "out").exists()
