"""Keys, tokens, subjects, backups: never re-keyed in silence, never the wrong key, never shown."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.identity.backup import restore_backup, write_backup
from orchestration.identity.commands import keys as keys_group
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.pseudonymise import Tokeniser, install
from orchestration.identity.rotation import rotate_keys

PASSPHRASE = "correct horse battery"
A, B = ("a" * 32, "phone", "e164"), ("b" * 32, "email", "email")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def test_first_use_makes_keys_once(home: Home) -> None:
    first, second = Keys.open(home), Keys.open(home)
    assert (first.created, second.created) == (True, False)
    assert first.id == second.id == home.info.keys_check
    assert home.master_key.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.keys.iterdir()] == ["master.key"]


@pytest.mark.fault("D7")
def test_lost_key_stops_and_makes_no_other(home: Home) -> None:
    Keys.open(home)
    home.master_key.unlink()
    with pytest.raises(HomeError, match="is lost"):
        Keys.open(home)
    assert not home.master_key.exists()


@pytest.mark.fault("D9")
def test_wrong_or_damaged_key_is_refused_before_any_write(home: Home) -> None:
    Keys.open(home)
    home.master_key.write_text("00" * 32)
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*")}
    with pytest.raises(HomeError, match="not the key that the home was made with"):
        Keys.open(home)
    assert {path: path.stat().st_mtime_ns for path in home.root.rglob("*")} == before
    home.master_key.write_text("not hex")
    with pytest.raises(HomeError, match="damaged"):
        Keys.open(home)


@pytest.mark.fault("D10")
def test_keys_derive_apart_and_never_show(home: Home) -> None:
    keys = Keys.open(home)
    assert keys.derive("a") != keys.derive("b")
    assert keys.derive("a") == keys.derive("a")
    assert keys.master.hex() not in repr(keys)
    assert str(keys.master) not in repr(keys)


@pytest.mark.fault("D8")
def test_rotated_keys_name_the_same_person_and_open_what_was_sealed_before(home: Home) -> None:
    old = Keys.open(home)
    sealed = old.cipher("archive").encrypt(bytes(12), b"line", b"bound")
    erased = ("c" * 32, "phone", "e164")
    with SubjectRegistry(home, old) as registry:
        refs, made = registry.refs([A, B]), registry.data_keys([A, B, erased])
        registry._con.execute("DELETE FROM subjects WHERE token = ?", (erased[0],))
    new, people = rotate_keys(home)
    assert people == 2
    assert (new.id, new.check) != (old.id, old.check)
    assert new.id == old.id
    assert Tokeniser(new).token("phone", "e164", "+8613900000001") == Tokeniser(old).token(
        "phone", "e164", "+8613900000001"
    )
    assert new.cipher("archive").decrypt(bytes(12), sealed, b"bound") == b"line"
    with pytest.raises(InvalidTag):  # what is sealed since, the old key does not open
        old.cipher("archive").decrypt(bytes(12), new.cipher("archive").encrypt(bytes(12), b"line", b"bound"), b"bound")
    with SubjectRegistry(home, Keys.open(home)) as registry:
        assert registry.refs([A, B]) == refs
        assert registry.existing_data_keys([A[0], B[0], erased[0]]) == {A[0]: made[A[0]], B[0]: made[B[0]]}
        assert registry.lookup(erased[0]) is None
    with SubjectRegistry(home, old) as registry, pytest.raises(HomeError, match="cannot be opened"):
        registry.existing_data_keys([A[0]])


@pytest.mark.fault("D8")
def test_rotation_killed_midway_opens_everything_and_is_done_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Keys.open(home)
    with SubjectRegistry(home, old) as registry:
        made = registry.data_keys([A])
    for place in ("orchestration.home.Home.update", "orchestration.identity.keys.SubjectRegistry.rewrap"):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                rotate_keys(home)
        with SubjectRegistry(home, Keys.open(home)) as registry:
            assert registry.data_keys([A]) == made
    rotate_keys(home)
    with SubjectRegistry(home, Keys.open(home)) as registry:
        assert registry.data_keys([A]) == made


@pytest.mark.fault("A10")
@pytest.mark.fault("D8")
def test_rotation_killed_at_any_moment_leaves_every_row_readable(home: Home) -> None:
    """kill -9 at 20 moments of a rotation of 400 people: both keys open what they sealed, the home names no wrong key,
    and the next rotation finishes."""
    people = [(f"{n:032x}", "phone", "e164") for n in range(400)]
    with SubjectRegistry(home, Keys.open(home)) as registry:
        made = registry.data_keys(people)
    start = time.perf_counter()
    rotate_keys(home)
    whole = time.perf_counter() - start
    killed = 0
    for moment in range(20):
        child = multiprocessing.get_context("fork").Process(target=rotate_keys, args=(home,))
        child.start()
        child.join(whole * 1.5 * moment / 20)
        if child.is_alive():
            killed += 1
            os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        with SubjectRegistry(home, Keys.open(home)) as registry:
            assert registry.data_keys(people) == made
    assert killed >= 5, "most moments must be in the middle of it"
    keys, rewrapped = rotate_keys(home)
    assert rewrapped == len(people)
    with SubjectRegistry(home, keys) as registry:
        assert registry.data_keys(people) == made


def test_backup_from_before_a_rotation_is_refused(home: Home, tmp_path: Path) -> None:
    write_backup(home, Keys.open(home), tmp_path / "old.backup", PASSPHRASE)
    keys, _ = rotate_keys(home)
    write_backup(home, keys, tmp_path / "new.backup", PASSPHRASE)
    home.master_key.unlink()
    with pytest.raises(HomeError, match="older than the last rotation"):
        restore_backup(home, tmp_path / "old.backup", PASSPHRASE)
    restore_backup(home, tmp_path / "new.backup", PASSPHRASE)
    assert Keys.open(home) == Keys(keys.master, later=keys.later)


def test_demo_keys_come_from_the_seed(tmp_path: Path) -> None:
    one, other = (Keys.open(Home.open(tmp_path / name, demo_seed=7)) for name in ("one", "other"))
    assert one.id == other.id == Keys.from_seed(7).id != Keys.from_seed(8).id


# Controls, quotes and the separator too: SQL and Python must agree on anything that a feed may carry.
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=20))
def test_sql_and_python_give_the_same_tokens(rows: list[tuple[str, str, str]]) -> None:
    keys, con = Keys.from_seed(1), duckdb.connect()
    install(con, keys)
    tokeniser = Tokeniser(keys)
    for kind, issuer, value in rows:
        found = con.execute("SELECT token($1, $2, $3), keyed_hash($3)", [kind, issuer, value]).fetchone()
        assert found == (tokeniser.token(kind, issuer, value), tokeniser.keyed_hash(value))


def test_token_depends_on_kind_issuer_and_key_and_null_stays_null() -> None:
    con, keys = duckdb.connect(), Keys.from_seed(1)
    install(con, keys)
    assert con.execute("SELECT token('a', 'b', NULL), keyed_hash(NULL)").fetchone() == (None, None)
    tokens = {
        Tokeniser(k).token(*parts) for k in (keys, Keys.from_seed(2)) for parts in (("a", "b", "c"), ("a", "x", "c"))
    }
    assert len(tokens) == 4
    assert {len(token) for token in tokens} == {32}
    assert Tokeniser(keys).token("a", "b", "c") != Tokeniser(keys).keyed_hash("a|b|c")


def test_registry_makes_each_subject_once(home: Home) -> None:
    keys = Keys.open(home)
    with SubjectRegistry(home, keys) as registry:
        first = registry.refs([A, B, A])
        assert registry.refs([B]) == {B[0]: first[B[0]]}
        assert first[A[0]] != first[B[0]]
        assert (registry.lookup(A[0]), registry.lookup("c" * 32)) == (first[A[0]], None)
        assert registry.mapping_arrow().to_pylist() == [
            {"subject_ref": first[token], "token": token, "kind": kind, "issuer": issuer}
            for token, kind, issuer in (A, B)
        ]
        assert registry.refs([]) == {}
    assert home.keys_db.stat().st_mode & 0o777 == 0o600


def test_registry_of_a_new_home_is_typed_and_empty(home: Home) -> None:
    with SubjectRegistry(home, Keys.open(home)) as registry:
        assert registry.mapping_arrow().num_rows == 0
        assert registry.mapping_arrow().column_names == ["subject_ref", "token", "kind", "issuer"]


def test_data_keys_stay_and_open_only_with_their_master(home: Home) -> None:
    keys = Keys.open(home)
    with SubjectRegistry(home, keys) as registry:
        made = registry.data_keys([A, B])
        assert registry.data_keys([A]) == {A[0]: made[A[0]]}
        assert registry.existing_data_keys([B[0], "c" * 32]) == {B[0]: made[B[0]]}
        assert made[A[0]] != made[B[0]]
    assert made[A[0]] not in home.keys_db.read_bytes()
    with SubjectRegistry(home, Keys.from_seed(1)) as wrong, pytest.raises(HomeError, match="cannot be opened"):
        wrong.verify()


def test_damaged_registry_is_an_error_without_values(home: Home) -> None:
    home.keys_db.write_bytes(b"not a database" * 100)
    home.keys_db.chmod(0o600)
    with pytest.raises(HomeError, match="damaged"):
        SubjectRegistry(home, Keys.from_seed(1))


def test_backup_restores_key_and_registry(home: Home, tmp_path: Path) -> None:
    keys, file = Keys.open(home), tmp_path / "keys.backup"
    with SubjectRegistry(home, keys) as registry:
        made, refs = registry.data_keys([A]), registry.refs([A])
    write_backup(home, keys, file, PASSPHRASE)
    assert keys.master.hex().encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    home.master_key.unlink()
    home.keys_db.unlink()
    restored = restore_backup(home, file, PASSPHRASE)
    assert (restored.master_key, restored.registry) == (True, True)
    with SubjectRegistry(home, Keys.open(home)) as registry:
        assert (registry.data_keys([A]), registry.refs([A])) == (made, refs)
    again = restore_backup(home, file, PASSPHRASE)
    assert (again.master_key, again.registry) == (False, False)


def test_backup_refuses_what_would_not_help(home: Home, tmp_path: Path) -> None:
    keys, file = Keys.open(home), tmp_path / "keys.backup"
    with pytest.raises(AssentError, match="too short"):
        write_backup(home, keys, file, "short")
    with pytest.raises(AssentError, match="inside the home"):
        write_backup(home, keys, home.tmp / "keys.backup", PASSPHRASE)
    write_backup(home, keys, file, PASSPHRASE)
    with pytest.raises(AssentError, match="passphrase is wrong"):
        restore_backup(home, file, PASSPHRASE + "x")
    other = Home.open(tmp_path / "other")
    Keys.open(other)
    with pytest.raises(HomeError, match="of another home"):
        restore_backup(other, file, PASSPHRASE)
    file.write_bytes(b"x")
    with pytest.raises(AssentError, match="not a backup"):
        restore_backup(home, file, PASSPHRASE)


def test_commands_make_check_back_up_and_restore(tmp_path: Path) -> None:
    root, file = str(tmp_path / "home"), str(tmp_path / "keys.backup")

    def run(*words: str, passphrase: str = "") -> dict[str, object]:
        result = CliRunner().invoke(
            keys_group, [*words, "--home", root, "--json"], input=passphrase + "\n", catch_exceptions=False
        )
        assert result.exit_code == 0
        found: dict[str, object] = json.loads(result.stdout)
        return found

    made = run("init")
    assert made["created"] is True
    assert run("init")["created"] is False
    assert run("check") == {"keys": made["keys"], "subjects": 0}
    rotated = run("rotate")
    assert (rotated["keys"], rotated["latest"] == made["keys"]) == (made["keys"], False)
    run("backup", file, passphrase=PASSPHRASE)
    (tmp_path / "home" / "keys" / "master.key").unlink()
    with pytest.raises(HomeError, match="is lost"):
        run("check")
    assert run("restore", file, passphrase=PASSPHRASE)["master_key"] is True
    assert run("check")["keys"] == made["keys"]
