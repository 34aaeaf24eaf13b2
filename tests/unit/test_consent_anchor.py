"""The anchor refuses a ledger or a registry that is older than it, cut, or rewritten; and it holds after any kill."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.consent.anchoring import signed_heads
from orchestration.consent.anchoring.anchor import anchor_folder
from orchestration.consent.anchoring.signed_heads import AnchorError
from orchestration.consent.verify import verify_whole
from orchestration.errors import ExitCode
from orchestration.home import Home, HomeFile
from orchestration.identity.keys import Keys
from orchestration.settings import LedgerAt
from tests.anchored import (
    ANNE,
    BEA,
    NOW,
    Anchored,
    Killed,
    copy_of,
    grant,
    opened,
    put_back,
    tamper,
    withdrawal,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def writer(home: Home) -> Iterator[Anchored]:
    with opened(home) as found:
        yield found


def bad(writer: Anchored) -> list[str]:
    verdicts = verify_whole(writer.ledger, writer.registry, writer.anchor)
    return [verdict.name for verdict in verdicts if not verdict.passed]


def refused(home: Home, what: str) -> None:
    """No reader and no writer gets past the anchor, and `verify` says so."""
    with opened(home) as found:
        with pytest.raises(AnchorError, match=what) as error:
            found.check()
        assert error.value.exit_code == ExitCode.HOME
        with pytest.raises(AnchorError, match=what):
            found.append(grant("later"))
        assert "anchor" in bad(found)


def test_ledger_that_only_grew_is_good(writer: Anchored) -> None:
    for number in range(5):
        writer.append(grant(f"g{number}"), withdrawal(f"w{number}", BEA))
        writer.check()
    assert bad(writer) == []
    lines = list(writer.anchor.heads.all())
    assert [line.seq for line in lines] == [0, 2, 4, 6, 8, 10]
    assert lines[-1].journal.entries == 5


def test_append_of_nothing_new_signs_nothing(writer: Anchored) -> None:
    writer.append(grant("g1"))
    writer.append(grant("g1"))
    assert [line.seq for line in writer.anchor.heads.all()] == [0, 1]


@pytest.mark.fault("D2")
def test_ledger_that_was_cut_is_refused(home: Home, writer: Anchored) -> None:
    writer.append(grant("g1"), withdrawal("w1"))
    tamper(home.ledger_db, "DELETE FROM details WHERE seq = 2", "DELETE FROM events WHERE seq = 2")
    assert writer.ledger.verify() is None  # what is left is chained
    refused(home, "does not hold record 2")


@pytest.mark.fault("D2")
def test_ledger_that_was_cut_and_grew_on_is_refused(home: Home, writer: Anchored) -> None:
    writer.append(grant("g1"), withdrawal("w1"))
    tamper(home.ledger_db, "DELETE FROM details WHERE seq = 2", "DELETE FROM events WHERE seq = 2")
    with opened(home) as unguarded:
        unguarded.bypass(grant("g2", BEA), grant("g3", BEA))
    refused(home, "does not hold record 2")


@pytest.mark.fault("D3")
def test_ledger_rewritten_whole_is_refused(home: Home, writer: Anchored) -> None:
    writer.append(grant("g1"), withdrawal("w1"))
    tamper(home.ledger_db, "DELETE FROM details", "UPDATE events SET decision = 'grant' WHERE seq = 2", rechain=True)
    assert writer.ledger.verify() is None
    refused(home, "does not hold record 2")


@pytest.mark.fault("D3")
def test_rewritten_past_is_found_by_verify_even_under_a_good_last_head(home: Home, writer: Anchored) -> None:
    for number in range(3):
        writer.append(grant(f"g{number}"))
    tamper(home.ledger_db, "UPDATE events SET hash = prev_hash WHERE seq = 2")
    writer.check()  # two lines are all that it reads
    assert bad(writer) == ["hash chain", "anchor"]


@pytest.mark.fault("D4", "H11")
def test_older_copy_of_ledger_is_refused(home: Home, tmp_path: Path) -> None:
    with opened(home) as found:
        found.append(grant("g1"))
        older = copy_of(home, tmp_path / "older.sqlite")
        found.append(withdrawal("w1"))
    put_back(home, older)
    refused(home, "does not hold record 2")


@pytest.mark.fault("H11")
def test_home_put_back_whole_is_refused(home: Home, tmp_path: Path) -> None:
    with opened(home) as found:
        found.append(grant("g1"))
    shutil.copytree(home.root, tmp_path / "copy")
    with opened(home) as found:
        found.append(withdrawal("w1"))
    shutil.rmtree(home.root)
    shutil.move(tmp_path / "copy", home.root)
    refused(home, "does not hold record 2")


@pytest.mark.fault("H11")
def test_home_from_before_its_first_record_is_refused(home: Home, tmp_path: Path) -> None:
    Keys.open(home)
    shutil.copytree(home.root, tmp_path / "copy")
    assert not home.info.anchored
    with opened(home) as found:
        found.append(withdrawal("w1"))
    shutil.rmtree(home.root)
    shutil.move(tmp_path / "copy", home.root)
    refused(home, "does not hold record 1")


@pytest.mark.fault("H11")
@pytest.mark.parametrize("has_grown", [False, True])
def test_older_registry_is_refused(home: Home, tmp_path: Path, has_grown: bool) -> None:
    with opened(home) as found:
        found.append(grant("g1"))
        shutil.copy(home.keys_db, tmp_path / "keys.sqlite")
        found.append(withdrawal("w1", BEA))
    shutil.copy(tmp_path / "keys.sqlite", home.keys_db)
    if has_grown:
        with opened(home) as found:
            found.registry.refs([(f"{number:032x}", "phone", "e164") for number in range(5)])
    refused(home, "registry of subjects is older")


def test_erasing_a_subject_does_not_age_the_registry(home: Home, writer: Anchored) -> None:
    writer.append(grant("g1"), grant("g2", BEA))
    writer.registry._con.execute("DELETE FROM subjects WHERE token = ?", (BEA.token,))
    writer.check()
    writer.append(grant("g3", BEA))
    assert bad(writer) == []


@pytest.mark.parametrize("what", ["folder", "heads.jsonl", "journal.log"])
def test_missing_anchor_is_refused_and_never_made_anew(home: Home, what: str) -> None:
    with opened(home) as found:
        found.append(withdrawal("w1"))
        folder = found.anchor.folder
    if what == "folder":
        shutil.rmtree(folder.parent)
    else:
        (folder / what).unlink()
    if what != "folder":
        home.update(anchored=False)  # nor where the home no longer knows
    refused(home, "missing")
    assert not (folder.parent if what == "folder" else folder / what).exists()


def test_anchor_elsewhere_is_refused_until_it_is_named(home: Home, tmp_path: Path) -> None:
    at = LedgerAt(anchor=tmp_path / "mounted")
    with opened(home, at) as found:
        found.append(grant("g1"))
        found.check()
    refused(home, "missing")
    with opened(home, at) as found:
        found.append(grant("g2"))


def test_two_homes_share_an_anchor_folder(tmp_path: Path) -> None:
    at = LedgerAt(anchor=tmp_path / "anchors")
    for name in ("one", "two"):
        with opened(Home.open(tmp_path / name), at) as found:
            found.append(grant("g1"))
            assert bad(found) == []


@pytest.mark.parametrize("way", ["link", "home/lake/.."])
def test_anchor_is_the_same_by_whichever_path_the_home_is_named(home: Home, tmp_path: Path, way: str) -> None:
    (tmp_path / "link").symlink_to(home.root)
    assert anchor_folder(Home(tmp_path / way)) == anchor_folder(home) == tmp_path.resolve() / "home.anchor"


def test_anchor_inside_the_home_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "way_in").symlink_to(home.root)
    for inside in (home.root, home.root / "anchor", tmp_path / "way_in" / "anchor"):
        with pytest.raises(AnchorError, match="inside the home"):
            anchor_folder(home, LedgerAt(anchor=inside))


def test_another_master_key_is_refused(home: Home, writer: Anchored) -> None:
    writer.append(withdrawal("w1"))
    with opened(home, keys=Keys(b"x" * 32)) as other, pytest.raises(AnchorError, match="another master key"):
        other.check()


def test_rotated_keys_still_read_the_anchor(home: Home, writer: Anchored) -> None:
    writer.append(withdrawal("w1"))
    with opened(home, keys=writer.keys.rotated()) as later:
        later.append(withdrawal("w2"))
        assert bad(later) == []
        assert len(list(later.anchor.entries())) == 2
    with pytest.raises(AnchorError, match="does not open") as raised:  # which is no tampering
        list(writer.anchor.entries())
    assert "keys backup" in raised.value.remedy


@pytest.mark.parametrize("step", ["commit", "sign"])
def test_kill_at_any_step_leaves_a_home_that_goes_on(home: Home, step: str) -> None:
    with opened(home) as found:
        found.append(grant("g1"))
        with pytest.raises(Killed):
            found.append(withdrawal("w1"), kill=step)
    with opened(home) as found:
        found.check()
        assert bad(found) == []
        found.append(withdrawal("w2"))
        found.append(withdrawal("w1"))  # the feed gives again what had no receipt
        found.check()
        assert bad(found) == []


def test_kill_before_anything_was_committed(home: Home) -> None:
    with opened(home) as found, pytest.raises(Killed):
        found.append(withdrawal("w1"), kill="commit")
    with opened(home) as found:
        found.append(grant("g1"))
        assert bad(found) == []


@pytest.mark.fault("D2")
def test_cut_is_found_by_the_journal_where_the_head_was_never_signed(home: Home) -> None:
    with opened(home) as found:
        found.append(grant("g1"))
        with pytest.raises(Killed):
            found.append(withdrawal("w1"), kill="sign")
        found.bypass(grant("g2"))
    tamper(home.ledger_db, "DELETE FROM details WHERE seq > 1", "DELETE FROM events WHERE seq > 1")
    with opened(home) as found:
        found.check()  # as if the killed writer had never committed: nobody was told otherwise
        assert bad(found) == []


def test_heads_that_were_cut_are_found_by_verify(home: Home, writer: Anchored) -> None:
    """Somebody who may write to the anchor too, but forgets the journal."""
    for number in range(3):
        writer.append(withdrawal(f"w{number}"))
    lines = (writer.anchor.folder / "heads.jsonl").read_bytes().splitlines(keepends=True)
    (writer.anchor.folder / "heads.jsonl").write_bytes(b"".join(lines[:2]))
    tamper(home.ledger_db, "DELETE FROM details WHERE seq > 1", "DELETE FROM events WHERE seq > 1")
    refused(home, "does not reach record 2")


@pytest.mark.parametrize(
    ("attack", "what"),
    [
        (lambda lines: [*lines[:-1], lines[-1].replace(b'"seq":3', b'"seq":2')], "signature"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b'","', b'", "', 1)], "damaged"),
        (lambda lines: [*lines[:-1], b"{}\n"], "damaged"),
        (lambda lines: [*lines[:-2], lines[-1]], "altered, missing or reordered"),
        (lambda lines: [*lines[:-2], lines[-1], lines[-2]], "altered, missing or reordered"),
        (lambda lines: [lines[-1]], "altered, missing or reordered"),
    ],
)
def test_altered_line_is_refused_at_once(home: Home, attack: object, what: str) -> None:
    with opened(home) as found:
        for number in range(3):
            found.append(grant(f"g{number}"))
        path = found.anchor.folder / "heads.jsonl"
    path.write_bytes(b"".join(attack(path.read_bytes().splitlines(keepends=True))))  # type: ignore[operator]
    refused(home, what)


@pytest.mark.parametrize(
    "altered",
    [
        lambda line: [],
        lambda line: [line, line],
        lambda line: [line.replace(b'"seq":3', b'"seq":4')],
        lambda line: [line.replace(b'"journal":[0', b'"journal":["x"')],
        lambda line: [line.replace(b'"journal":[0', b'"journal":[0,0')],
        lambda line: [b"[]\n"],
        lambda line: [b"\n"],
    ],
)
def test_line_altered_long_ago_is_found_by_verify(writer: Anchored, altered: Callable[[bytes], list[bytes]]) -> None:
    for number in range(40):
        writer.append(grant(f"g{number}"))
    path = writer.anchor.folder / "heads.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert altered(lines[3]) != [lines[3]]
    path.write_bytes(b"".join([*lines[:3], *altered(lines[3]), *lines[4:]]))
    writer.check()
    assert bad(writer) == ["anchor"]
    with pytest.raises(AnchorError):
        writer.anchor.has_signed((1, ""))


def test_line_of_another_home_is_refused(home: Home, tmp_path: Path) -> None:
    with opened(home) as found:
        found.append(grant("g1"))
        mine = found.anchor.folder
    shutil.copytree(home.root, tmp_path / "other")
    other = Home(tmp_path / "other")
    other.update(home_id="f" * 32)
    shutil.copytree(mine, anchor_folder(other) / ("f" * 32))
    refused(other, "another home")


def test_half_a_line_is_ignored_then_removed(writer: Anchored) -> None:
    writer.append(grant("g1"))
    path = writer.anchor.folder / "heads.jsonl"
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines()[-1][:100])
    writer.check()
    writer.append(grant("g2"))
    assert [line.seq for line in writer.anchor.heads.all()] == [0, 1, 2]


def test_anchor_that_cannot_be_written_commits_nothing(
    home: Home, writer: Anchored, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append(grant("g1"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestration.consent.anchoring.journal.os.fsync", full)
    with pytest.raises(AnchorError, match="No space left"):
        writer.append(withdrawal("w1"))
    monkeypatch.undo()
    assert writer.ledger.head()[0] == 1
    writer.append(withdrawal("w1"))
    assert bad(writer) == []


def test_restore_departs_openly_from_what_was_signed(home: Home, tmp_path: Path) -> None:
    with opened(home) as found:
        found.append(grant("g1"))
        older = copy_of(home, tmp_path / "older.sqlite")
        found.append(withdrawal("w1"))
        found.append(grant("g2"))
    put_back(home, older)
    with opened(home) as found:
        departs_from = found.ledger.head()
        assert found.anchor.has_signed(departs_from)
        assert not found.anchor.has_signed((1, "0" * 64))
        found.bypass(withdrawal("w1"))
        with found.anchor.writing(found.registry, NOW) as pen:
            pen.sign_restored(departs_from, found.ledger.head())
        found.check()
        assert bad(found) == []
        found.append(grant("g3"))
        found.check()
        assert bad(found) == []


def test_restore_without_replay_is_found(home: Home, tmp_path: Path) -> None:
    with opened(home) as found:
        found.append(grant("g1"))
        older = copy_of(home, tmp_path / "older.sqlite")
        found.append(withdrawal("w1"))
    put_back(home, older)
    with opened(home) as found:
        with found.anchor.writing(found.registry, NOW) as pen:
            pen.sign_restored(found.ledger.head(), found.ledger.head())
        assert bad(found) == ["journal"]


def test_threads_share_one_anchor(home: Home) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            with opened(home) as found:
                for number in range(8):
                    found.append(withdrawal(f"{name}{number}"))
        except BaseException as error:
            failures.append(error)

    with opened(home):
        pass
    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with opened(home) as found:
        assert bad(found) == []
        assert [line.seq for line in found.anchor.heads.all()] == list(range(33))


def test_processes_share_one_anchor(home: Home) -> None:
    with opened(home):
        pass
    code = (
        "import sys; from pathlib import Path; from orchestration.home import Home\n"
        "from tests.anchored import opened, withdrawal\n"
        "with opened(Home(Path(sys.argv[1]))) as w:\n"
        "    for n in range(8): w.append(withdrawal(sys.argv[2] + str(n)))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(home.root), name]) for name in "ab"]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    with opened(home) as found:
        assert bad(found) == []
        assert len(list(found.anchor.entries())) == 16


@pytest.mark.parametrize("act", [Anchored.check, lambda found: found.append(withdrawal("w1"))])
def test_home_that_another_process_anchors_meanwhile_goes_on(
    home: Home, act: Callable[[Anchored], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    others, read = [withdrawal("w2")], Home.info.fget
    assert read is not None

    def info_after_the_other(at: Home) -> HomeFile:
        while others:
            told = others.pop()
            with opened(home) as other:
                other.append(told)
        return read(at)

    with opened(home) as found:
        monkeypatch.setattr(Home, "info", property(info_after_the_other))
        act(found)
        assert others == [] and bad(found) == []


def test_anchor_is_private_and_holds_no_token(home: Home, writer: Anchored) -> None:
    writer.append(grant("secret-event"), withdrawal("secret-event-2", BEA, detail={"actor": "canary-actor"}))
    paths = [writer.anchor.folder.parent, *writer.anchor.folder.parent.rglob("*")]
    assert {path.name for path in paths[2:]} == {"heads.jsonl", "journal.log", "public.pem", "lock"}
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    ref = writer.registry.lookup(BEA.token) or ""
    content = b"".join(path.read_bytes() for path in paths if path.is_file())
    assert writer.ledger.head()[1].encode() in content  # the search finds what is there
    for canary in (ANNE.token, BEA.token, ref, "secret-event", "canary-actor", "consent_center", "withdraw"):
        assert canary.encode() not in content
        assert canary not in str(paths)


def test_check_reads_two_lines_whatever_the_length(writer: Anchored, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        writer.append(grant(f"g{number}"))
    read: list[bytes] = []
    parsed = signed_heads._parsed
    monkeypatch.setattr(signed_heads, "_parsed", lambda line: read.append(line) or parsed(line))
    writer.check()
    assert len(read) == 1


def test_home_without_records_needs_no_anchor_and_gets_none(home: Home, writer: Anchored) -> None:
    writer.check()
    assert bad(writer) == []
    assert not writer.anchor.folder.parent.exists()


def test_home_that_was_made_to_forget_its_anchor_is_refused(home: Home) -> None:
    with opened(home) as found:
        found.append(withdrawal("w1"))
    home.update(anchored=False, home_id="f" * 32)
    refused(home, "missing")


def test_ledger_from_before_anchors_gets_one_where_it_stands(home: Home) -> None:
    home.update(home_id=None)
    with opened(home) as found:
        found.bypass(grant("g1"))
        found.check()
        found.append(grant("g2"))
        assert [line.seq for line in found.anchor.heads.all()] == [1, 2]
        assert bad(found) == []


def test_public_key_verifies_the_heads_of_this_home_only(writer: Anchored) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    writer.append(grant("g1"))
    key = load_pem_public_key((writer.anchor.folder / "public.pem").read_bytes())
    line = json.loads((writer.anchor.folder / "heads.jsonl").read_bytes().splitlines()[-1])
    signature = bytes.fromhex(line.pop("signature"))
    text = json.dumps(line, sort_keys=True, separators=(",", ":")).encode()
    key.verify(signature, text)  # type: ignore[call-arg,union-attr]


def test_lock_is_let_go_after_an_error(writer: Anchored) -> None:
    writer.append(grant("g1"))
    with pytest.raises(Killed):
        writer.append(withdrawal("w1"), kill="commit")
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        with pytest.raises(Killed):
            writer.append(withdrawal("w1"), kill="commit")
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_wait_for_another_writer_has_an_end(home: Home, writer: Anchored, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.append(grant("g1"))
    monkeypatch.setattr("orchestration.consent.anchoring.anchor.WAIT_SECONDS", 0.05)
    with (
        writer.anchor.writing(writer.registry, NOW),
        opened(home) as other,
        pytest.raises(AnchorError, match="another process is writing"),
    ):
        other.append(grant("g2"))
    writer.append(grant("g2"))
