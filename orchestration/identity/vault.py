"""The vault: canonical contact details for activation, each encrypted under the key of its subject.

Only exports read plain values from here; destroying a subject's key makes every copy of the entry unreadable."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.keys import NONCE_BYTES, Keys, SubjectRegistry
from orchestration.identity.private_sqlite import compact, connect, fill_wanted, transaction
from orchestration.retention.suppressions import Suppressions

SCHEMA = """
CREATE TABLE IF NOT EXISTS contacts (
  token TEXT PRIMARY KEY, kind TEXT NOT NULL, issuer TEXT NOT NULL,
  sealed BLOB NOT NULL     -- nonce, then AES-256-GCM of the canonical value, bound to the token
) WITHOUT ROWID;
"""
PRUNED_AT_A_TIME = 20_000
CONTACT_POINTS = pa.schema([(name, pa.string()) for name in ("token", "kind", "issuer")])


class Vault:
    """vault.sqlite of one home."""

    def __init__(self, home: Home, keys: Keys) -> None:
        self._path = home.vault_db
        self._registry = SubjectRegistry(home, keys)
        self._erased = Suppressions(home, keys)
        self._con = connect(home.vault_db, SCHEMA)

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._con.close()
        self._registry.close()

    def put(self, rows: Sequence[tuple[str, str, str, str]]) -> int:
        """Keeps (token, kind, issuer, canonical value) where the token is new and was not erased; returns how many
        were."""
        erased = self._erased.holds(row[0] for row in rows)
        rows = [row for row in rows if row[0] not in erased]
        with transaction(self._con):
            fill_wanted(self._con, [row[0] for row in rows])
            present = {token for (token,) in self._con.execute("SELECT token FROM wanted JOIN contacts USING (token)")}
            new = {row[0]: row for row in rows if row[0] not in present}
            data_keys = self._registry.data_keys([row[:3] for row in new.values()])
            self._con.executemany(
                "INSERT INTO contacts VALUES (?, ?, ?, ?)",
                (
                    (token, kind, issuer, _seal(data_keys[token], token, plain))
                    for token, kind, issuer, plain in new.values()
                ),
            )
        return len(new)

    def get(self, tokens: Sequence[str]) -> dict[str, str]:
        """The canonical values of `tokens`; those without an entry, or whose key is destroyed, are absent."""
        data_keys = self._registry.existing_data_keys(tokens)
        with transaction(self._con):
            fill_wanted(self._con, list(data_keys))
            sealed = self._con.execute("SELECT token, sealed FROM wanted JOIN contacts USING (token)").fetchall()
        try:
            return {token: _open(data_keys[token], token, blob) for token, blob in sealed}
        except (InvalidTag, ValueError):
            pass
        raise HomeError(
            "an entry cannot be opened", where=str(self._path), remedy="Restore the vault and its keys together"
        )

    def prune(self) -> int:
        """Removes the entries that no key opens; returns how many. Only a restore needs it: keys and vault are kept
        apart and may be of different days."""
        tokens = [token for (token,) in self._con.execute("SELECT token FROM contacts ORDER BY token").fetchall()]
        gone = []
        for start in range(0, len(tokens), PRUNED_AT_A_TIME):
            part = tokens[start : start + PRUNED_AT_A_TIME]
            data_keys = self._registry.existing_data_keys(part)
            with transaction(self._con):
                fill_wanted(self._con, part)
                rows = self._con.execute("SELECT token, sealed FROM wanted JOIN contacts USING (token)").fetchall()
            gone += [(token,) for token, blob in rows if not _opens(data_keys.get(token), token, blob)]
        with transaction(self._con):
            self._con.executemany("DELETE FROM contacts WHERE token = ?", gone)
        return len(gone)

    def delete(self, tokens: Sequence[str]) -> int:
        """Removes these entries, and destroys the keys that would open them in a backup; returns how many there were.
        Who they are stays known; what is delivered again is kept anew."""
        refs = [ref for token in tokens if (ref := self._registry.lookup(token)) is not None]
        self._registry.destroy_data_keys(refs)
        with transaction(self._con):
            fill_wanted(self._con, list(tokens))
            return self._con.execute("DELETE FROM contacts WHERE token IN (SELECT token FROM wanted)").rowcount

    def erase(self, tokens: Sequence[str]) -> int:
        """Removes the entries of people who are erased, so that no byte of them stays; how many there were."""
        gone = self.delete(tokens)
        compact(self._con)
        return gone

    def contact_points_arrow(self) -> pa.Table:
        """Every entry without its value: token, kind, issuer."""
        rows = self._con.execute("SELECT token, kind, issuer FROM contacts ORDER BY token").fetchall()
        columns: Any = zip(*rows, strict=True) if rows else [[] for _ in CONTACT_POINTS]
        return pa.table([pa.array(column, pa.string()) for column in columns], schema=CONTACT_POINTS)


def _seal(data_key: bytes, token: str, plain: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(data_key).encrypt(nonce, plain.encode(), token.encode())


def _opens(data_key: bytes | None, token: str, blob: bytes) -> bool:
    with contextlib.suppress(InvalidTag, ValueError):
        return data_key is not None and bool(_open(data_key, token, blob))
    return False


def _open(data_key: bytes, token: str, blob: bytes) -> str:
    return AESGCM(data_key).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], token.encode()).decode()
