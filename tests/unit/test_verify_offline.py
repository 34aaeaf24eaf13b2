"""The verifier for auditors runs apart from Assent, and finds every way to alter a ledger."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestration.consent.anchoring import verify_offline
from orchestration.home import Home
from orchestration.settings import Settings
from orchestration.verify import verify
from tests.anchored import BEA, NOW, copy_of, grant, opened, tamper, withdrawal


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with six records in three transactions."""
    root = tmp_path_factory.mktemp("made")
    with opened(Home.open(root / "home")) as found:
        for number in range(3):
            found.append(grant(f"g{number}"), withdrawal(f"w{number}", BEA))
    return root


@pytest.fixture
def files(made: Path, tmp_path: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Ledger, heads, public key: copies, as an auditor gets them."""
    (folder,) = (made / "home.anchor").iterdir()
    for name in ("heads.jsonl", "public.pem"):
        shutil.copy(folder / name, tmp_path)
    yield copy_of(Home(made / "home"), tmp_path / "ledger.sqlite"), tmp_path / "heads.jsonl", tmp_path / "public.pem"


def run(*arguments: object, cwd: Path | None = None) -> tuple[int, dict[str, Any]]:
    script = shutil.copy(str(verify_offline.__file__), cwd or "/tmp")
    command = [sys.executable, "-I", script, *map(str, arguments), "--json"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def with_heads(files: tuple[Path, Path, Path]) -> tuple[int, dict[str, Any]]:
    ledger, heads, key = files
    return run(ledger, "--heads", heads, "--public-key", key, cwd=ledger.parent)


SWAP = (
    "CREATE TEMP TABLE moved AS SELECT * FROM events WHERE seq IN (3, 4)",
    "DELETE FROM details WHERE seq IN (3, 4)",
    "DELETE FROM events WHERE seq IN (3, 4)",
    "UPDATE moved SET seq = 7 - seq",
    "INSERT INTO events SELECT * FROM moved",
)
INSERT = (
    "CREATE TEMP TABLE moved AS SELECT * FROM events WHERE seq >= 4",
    "DELETE FROM details WHERE seq >= 4",
    "DELETE FROM events WHERE seq >= 4",
    "INSERT INTO events SELECT * FROM moved WHERE seq = 4",
    "UPDATE moved SET seq = seq + 1, event_key = event_key || 'x'",
    "INSERT INTO events SELECT * FROM moved",
)


def test_good_ledger_is_good(files: tuple[Path, Path, Path]) -> None:
    code, found = with_heads(files)
    assert (code, found["is_good"], found["records"], found["heads"]) == (0, True, 6, 4)
    assert run(files[0], cwd=files[0].parent)[0] == 0


@pytest.mark.fault("D1")
@pytest.mark.parametrize(
    ("attack", "first_bad"),
    [
        (("UPDATE events SET decision = 'grant' WHERE seq = 4",), 4),
        (("UPDATE events SET decision = NULL, fact = 'withdraw' WHERE seq = 4",), 4),
        (("UPDATE events SET hash = prev_hash WHERE seq = 6",), 6),
        (("DELETE FROM details WHERE seq = 2", "DELETE FROM events WHERE seq = 2"), 2),
        (SWAP, 3),
        (INSERT, 5),
    ],
)
def test_edit_delete_reorder_insert_are_named(
    files: tuple[Path, Path, Path], attack: tuple[str, ...], first_bad: int
) -> None:
    tamper(files[0], *attack)
    code, found = run(files[0], cwd=files[0].parent)
    assert (code, found["first_bad_seq"]) == (6, first_bad)
    assert with_heads(files)[0] == 6


@pytest.mark.fault("D2")
def test_cut_is_found_with_heads(files: tuple[Path, Path, Path]) -> None:
    tamper(files[0], "DELETE FROM details WHERE seq > 4", "DELETE FROM events WHERE seq > 4")
    assert run(files[0], cwd=files[0].parent)[0] == 0  # nothing within it tells
    code, found = with_heads(files)
    assert (code, found["first_bad_seq"], found["first_bad_head"]) == (6, None, 6)


@pytest.mark.fault("D3")
def test_whole_rewrite_is_found_with_heads(files: tuple[Path, Path, Path]) -> None:
    tamper(files[0], "DELETE FROM details", "UPDATE events SET decision = 'grant' WHERE seq = 4", rechain=True)
    assert run(files[0], cwd=files[0].parent)[0] == 0
    code, found = with_heads(files)
    assert (code, found["first_bad_seq"], found["first_bad_head"]) == (6, None, 4)


@pytest.mark.parametrize("what", ["forged", "removed", "reordered", "emptied", "key"])
def test_altered_heads_are_found(files: tuple[Path, Path, Path], what: str) -> None:
    ledger, heads, key = files
    lines = heads.read_bytes().splitlines(keepends=True)
    if what == "forged":
        tamper(ledger, "DELETE FROM details WHERE seq > 4", "DELETE FROM events WHERE seq > 4")
        lines = [*lines[:-1], lines[-1].replace(b'"seq":6', b'"seq":4')]
    elif what == "key":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = Ed25519PrivateKey.generate().public_key()
        key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    else:
        altered = {"removed": [lines[0], *lines[2:]], "reordered": [lines[1], lines[0], *lines[2:]], "emptied": []}
        lines = altered[what]
    heads.write_bytes(b"".join(lines))
    code, found = with_heads(files)
    assert (code, found["is_good"]) == (6, False)


def test_restored_ledger_is_good_where_the_restore_is_signed(made: Path, tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with opened(home) as found:
        found.append(grant("g1"))
        older = copy_of(home, tmp_path / "older.sqlite")
        found.append(withdrawal("w1"))
        folder = found.anchor.folder
    heads, key = folder / "heads.jsonl", folder / "public.pem"
    assert with_heads((older, heads, key))[0] == 6
    home.ledger_db.write_bytes(older.read_bytes())
    with opened(home) as found, found.anchor.writing(found.registry, NOW) as pen:
        pen.sign_restored(found.ledger.head(), found.ledger.head())
    assert with_heads((older, heads, key))[0] == 0


def test_what_cannot_be_read_is_not_good(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    assert run(tmp_path / "none", cwd=tmp_path)[0] == 2
    (tmp_path / "text").write_text("no ledger\n")
    assert run(tmp_path / "text", cwd=tmp_path)[0] == 2
    (tmp_path / "list").write_text("[1]\n")
    assert run(tmp_path / "list", cwd=tmp_path)[0] == 2


def test_signatures_without_their_package_are_not_good(files: tuple[Path, Path, Path]) -> None:
    ledger, heads, key = files
    arguments = [str(ledger), "--heads", str(heads), "--public-key", str(key)]
    code = f"""
import runpy, sys
sys.modules["cryptography"] = None
sys.argv[1:] = {arguments!r}
runpy.run_path({str(verify_offline.__file__)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "need the Python package" in done.stdout) == (2, True)


def test_script_and_export_of_the_command_line_verify(made: Path, tmp_path: Path) -> None:
    """What an auditor does: save the script, get the records, verify; nobody's name is in them."""
    settings = Settings(home=made / "home")
    script = CliRunner().invoke(verify, ["script"], obj=settings)
    assert script.output == Path(verify_offline.__file__).read_text("utf-8")
    dump = tmp_path / "records.jsonl"
    done = CliRunner().invoke(verify, ["export", str(dump)], obj=settings)
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    text = dump.read_text()
    assert BEA.token not in text and "till-7" not in text
    (folder,) = (made / "home.anchor").iterdir()
    heads = ("--heads", folder / "heads.jsonl", "--public-key", folder / "public.pem")
    assert run(dump, *heads, cwd=tmp_path)[0] == 0
    lines = text.splitlines(keepends=True)
    for altered, first_bad in (
        ([*lines[:3], lines[3].replace("withdraw", "grant"), *lines[4:]], 4),
        ([*lines[:2], *lines[3:]], 3),
        ([*lines[:2], lines[3], lines[2], *lines[4:]], 3),
        ([*lines[:2], lines[1], *lines[2:]], 3),
    ):
        dump.write_text("".join(altered))
        assert run(dump, cwd=tmp_path)[1]["first_bad_seq"] == first_bad
    dump.write_text("".join(lines[:-1]))
    assert run(dump, *heads, cwd=tmp_path)[1]["first_bad_head"] == 6


def test_verifier_agrees_with_assent(made: Path) -> None:
    done = CliRunner().invoke(verify, ["ledger", "--json"], obj=Settings(home=made / "home"))
    verdicts = {verdict["name"]: verdict["passed"] for verdict in json.loads(done.output)}
    assert verdicts == dict.fromkeys(("hash chain", "append-only", "anchor", "journal", "not older than build"), True)
