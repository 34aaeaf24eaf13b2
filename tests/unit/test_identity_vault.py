"""The vault: encrypted under a key per person, idempotent, useless without that key."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.private_sqlite import connect
from orchestration.identity.vault import Vault

CANARY = "canary_7f@example.invalid"
ROWS = [("a" * 32, "email", "email", CANARY), ("b" * 32, "phone", "e164", "+8613812345678")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def everything_under(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


def test_vault_gives_back_what_it_keeps_and_nothing_else(home: Home) -> None:
    with Vault(home, Keys.open(home)) as vault:
        assert vault.put([*ROWS, ROWS[0]]) == 2
        assert vault.put(ROWS) == 0
        assert vault.put([]) == 0
        assert vault.get(["a" * 32, "c" * 32]) == {"a" * 32: CANARY}
        assert vault.contact_points_arrow().to_pylist() == [
            {"token": token, "kind": kind, "issuer": issuer} for token, kind, issuer, _ in ROWS
        ]


def test_plain_values_are_in_no_file(home: Home) -> None:
    with Vault(home, Keys.open(home)) as vault:
        vault.put(ROWS)
        assert CANARY.encode() not in everything_under(home.root)
    (home.tmp / "control").write_text(CANARY)  # the search does find what is there
    assert CANARY.encode() in everything_under(home.root)
    assert home.vault_db.stat().st_mode & 0o777 == 0o600


def test_destroyed_key_makes_an_entry_unreadable(home: Home) -> None:
    keys = Keys.open(home)
    with Vault(home, keys) as vault:
        vault.put(ROWS)
        con = connect(home.keys_db, "")
        con.execute("UPDATE subjects SET data_key = NULL WHERE token = ?", ("a" * 32,))
        con.close()
        assert vault.get([row[0] for row in ROWS]) == {"b" * 32: "+8613812345678"}


def test_entry_moved_to_another_subject_is_refused(home: Home) -> None:
    with Vault(home, Keys.open(home)) as vault:
        vault.put(ROWS)
        con = connect(home.vault_db, "")
        con.execute("UPDATE contacts SET sealed = (SELECT sealed FROM contacts WHERE token = ?)", ("b" * 32,))
        con.close()
        with pytest.raises(HomeError, match="cannot be opened") as caught:
            vault.get(["a" * 32])
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_failed_put_keeps_nothing(home: Home) -> None:
    with Vault(home, Keys.open(home)) as vault:
        with pytest.raises(AttributeError):
            vault.put([ROWS[0], ("b" * 32, "phone", "e164", None)])  # type: ignore[list-item]
        assert vault.contact_points_arrow().num_rows == 0
        assert vault.put(ROWS) == 2
