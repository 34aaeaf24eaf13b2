"""The keys of a home: the master key (of `master.py`), and the registry of subjects in keys.sqlite.

The registry maps a token to a random `subject_ref`, and holds the key per person that protects their vault entries.
The ledger knows subjects by `subject_ref` only, so destroying a row here cuts the ledger's records from any person."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
from cryptography.exceptions import InvalidTag

from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.master import BACKUP_ADVICE, KEY_BYTES, Keys
from orchestration.identity.private_sqlite import compact, connect, fill_wanted, transaction

__all__ = ["BACKUP_ADVICE", "Keys", "SubjectRegistry"]

NONCE_BYTES = 12
SCHEMA = """
CREATE TABLE IF NOT EXISTS subjects (
  token TEXT PRIMARY KEY, kind TEXT NOT NULL, issuer TEXT NOT NULL,
  subject_ref TEXT NOT NULL UNIQUE,
  data_key BLOB            -- wrapped by the master key; NULL until something is kept for the subject
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS growth (  -- outlives every erasure: tells this file from an older copy of it
  ever INTEGER PRIMARY KEY,          -- how many subjects were ever made
  sign TEXT NOT NULL                 -- random, so that a copy that grew on differs too
);
CREATE TABLE IF NOT EXISTS seals (   -- of what is sealed for a time elsewhere: without its row nothing opens it
  name TEXT PRIMARY KEY, seal_key BLOB NOT NULL  -- wrapped by the master key
) WITHOUT ROWID;
"""
MAPPING = pa.schema([(name, pa.string()) for name in ("subject_ref", "token", "kind", "issuer")])

Row = tuple[str, str, str]  # token, kind, issuer


class SubjectRegistry:
    """keys.sqlite of one home. Every write is one transaction; use it as a context manager or `close` it."""

    def __init__(self, home: Home, keys: Keys) -> None:
        self._path = home.keys_db
        if not self._path.exists() and (home.ledger_db.exists() or home.vault_db.exists()):
            # a new registry would read every refusal on record as that of somebody erased
            raise HomeError(
                "the registry of subjects is lost", where=str(self._path), remedy="Run `assent keys restore FILE`"
            )
        self._con = connect(home.keys_db, SCHEMA)
        self._wrapping = keys.cipher("wrap data keys")

    def __enter__(self) -> SubjectRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._con.close()

    def refs(self, rows: Sequence[Row]) -> dict[str, str]:
        """The `subject_ref` of each token; missing subjects are made."""
        if not rows:
            return {}
        with transaction(self._con):
            return self._refs(rows)

    def _refs(self, rows: Sequence[Row]) -> dict[str, str]:
        fill_wanted(self._con, [row[0] for row in rows])
        known = self._known()
        new = {row[0]: row for row in rows if row[0] not in known}
        random = os.urandom(16 * len(new)).hex()
        made = {token: random[32 * i : 32 * i + 32] for i, token in enumerate(new)}
        if new:
            self._grow(len(new))
        self._con.executemany(
            "INSERT INTO subjects (token, kind, issuer, subject_ref) VALUES (?, ?, ?, ?)",
            ((*row, made[token]) for token, row in new.items()),
        )
        return known | made

    def _grow(self, number: int) -> None:
        self._con.execute(
            "INSERT INTO growth SELECT coalesce(max(ever), (SELECT count(*) FROM subjects)) + ?, ? FROM growth",
            (number, os.urandom(8).hex()),
        )

    def mark(self) -> tuple[int, str]:
        """How many subjects were ever made, and the random sign of that moment; (0, "") before the first."""
        found = self._con.execute("SELECT ever, sign FROM growth ORDER BY ever DESC LIMIT 1").fetchone()
        return (0, "") if found is None else (int(found[0]), str(found[1]))

    def holds(self, mark: tuple[int, str]) -> bool:
        """Whether this registry was once at `mark`: an older copy was not, even where it has grown on."""
        found = self._con.execute("SELECT sign FROM growth WHERE ever = ?", (mark[0],)).fetchone()
        return mark[0] == 0 or (found is not None and found[0] == mark[1])

    def named(self, subject_refs: Collection[str]) -> dict[str, Row]:
        """Token, kind and issuer of these `subject_ref`s; who is erased is absent."""
        # CROSS: SQLite would else read every subject to look each up among the wanted
        query = (
            "SELECT subject_ref, s.token, kind, issuer FROM wanted w CROSS JOIN subjects s ON s.subject_ref = w.token"
        )
        with transaction(self._con):
            fill_wanted(self._con, list(subject_refs))
            return {ref: (token, kind, issuer) for ref, token, kind, issuer in self._con.execute(query)}

    def adopt(self, subjects: Mapping[str, Row]) -> tuple[int, dict[str, str]]:
        """Puts back who is missing, by `subject_ref`. Returns how many were, and of tokens that have another
        `subject_ref` by now which one (given → present)."""
        with transaction(self._con):
            fill_wanted(self._con, [row[0] for row in subjects.values()])
            known = self._known()
            new = [(*row, ref) for ref, row in subjects.items() if row[0] not in known]
            if new:
                self._grow(len(new))
                self._con.executemany(
                    "INSERT INTO subjects (token, kind, issuer, subject_ref) VALUES (?, ?, ?, ?)", new
                )
        return len(new), {ref: known[row[0]] for ref, row in subjects.items() if known.get(row[0], ref) != ref}

    def destroy_data_keys(self, subject_refs: Collection[str]) -> None:
        """Makes everything that is kept for these people unreadable, for good. Who they are stays known."""
        with transaction(self._con):
            self._con.executemany(
                "UPDATE subjects SET data_key = NULL WHERE subject_ref = ?", ((ref,) for ref in subject_refs)
            )

    def forget(self, tokens: Collection[str]) -> int:
        """Removes who these are, and their keys: nothing in the ledger can be told to be theirs again. How many."""
        with transaction(self._con):
            before = self._con.total_changes
            self._con.executemany("DELETE FROM subjects WHERE token = ?", ((token,) for token in tokens))
            gone = self._con.total_changes - before
        compact(self._con)
        return gone

    def seal_key(self, name: str) -> bytes:
        """The key of what is sealed under `name`, made on first use."""
        with transaction(self._con):
            found = self._seal_key(name)
            if found is None:
                found = os.urandom(KEY_BYTES)
                self._con.execute("INSERT INTO seals VALUES (?, ?)", (name, self._wrap(name, found)))
        return found

    def existing_seal_key(self, name: str) -> bytes | None:
        """The key; None where it was destroyed, or never made."""
        return self._seal_key(name)

    def destroy_seal_key(self, name: str) -> None:
        with transaction(self._con):
            self._con.execute("DELETE FROM seals WHERE name = ?", (name,))

    def _seal_key(self, name: str) -> bytes | None:
        found = self._con.execute("SELECT seal_key FROM seals WHERE name = ?", (name,)).fetchone()
        return None if found is None else self._unwrap(name, found[0])

    def _known(self) -> dict[str, str]:
        return dict(self._con.execute("SELECT token, subject_ref FROM wanted JOIN subjects USING (token)").fetchall())

    def lookup(self, token: str) -> str | None:
        """The `subject_ref` of one token, if it is known."""
        found = self._con.execute("SELECT subject_ref FROM subjects WHERE token = ?", (token,)).fetchone()
        return None if found is None else str(found[0])

    def refs_of(self, tokens: Collection[str]) -> list[str]:
        """The `subject_ref`s of those that are known."""
        with transaction(self._con):
            fill_wanted(self._con, list(tokens))
            return sorted(self._known().values())

    def mapping_arrow(self) -> pa.Table:
        """Every subject: subject_ref, token, kind, issuer."""
        rows = self._con.execute("SELECT subject_ref, token, kind, issuer FROM subjects ORDER BY token").fetchall()
        columns: Any = zip(*rows, strict=True) if rows else [[] for _ in MAPPING]
        return pa.table([pa.array(column, pa.string()) for column in columns], schema=MAPPING)

    def data_keys(self, rows: Sequence[Row]) -> dict[str, bytes]:
        """The key of each subject's own data; missing subjects and keys are made."""
        if not rows:
            return {}
        with transaction(self._con):
            self._refs(rows)
            lacking = self._con.execute(
                "SELECT token FROM wanted JOIN subjects USING (token) WHERE data_key IS NULL"
            ).fetchall()
            self._con.executemany(
                "UPDATE subjects SET data_key = ? WHERE token = ?",
                ((self._wrap(token, os.urandom(KEY_BYTES)), token) for (token,) in lacking),
            )
            return self._unwrapped()

    def existing_data_keys(self, tokens: Sequence[str]) -> dict[str, bytes]:
        """The keys there are; a token without one is absent from the result."""
        with transaction(self._con):
            fill_wanted(self._con, list(tokens))
            return self._unwrapped()

    def rewrap(self) -> int:
        """Seals every person's key with the latest master key, all or none; returns how many there are."""
        with transaction(self._con):
            fill_wanted(self._con, [token for (token,) in self._con.execute("SELECT token FROM subjects").fetchall()])
            data_keys = self._unwrapped()
            self._con.executemany(
                "UPDATE subjects SET data_key = ? WHERE token = ?",
                ((self._wrap(token, key), token) for token, key in data_keys.items()),
            )
            seals = self._con.execute("SELECT name, seal_key FROM seals").fetchall()
            self._con.executemany(
                "UPDATE seals SET seal_key = ? WHERE name = ?",
                [(self._wrap(name, self._unwrap(name, sealed)), name) for name, sealed in seals],
            )
        return len(data_keys)

    def verify(self) -> int:
        """How many subjects there are. Raises HomeError when the file or a wrapped key is damaged."""
        found = self._con.execute("PRAGMA quick_check").fetchone()
        if found is None or found[0] != "ok":
            raise HomeError("the file is damaged", where=str(self._path), remedy="Run `assent keys restore FILE`")
        some = self._con.execute("SELECT token FROM subjects WHERE data_key IS NOT NULL LIMIT 1000").fetchall()
        self.existing_data_keys([token for (token,) in some])
        return int(self._con.execute("SELECT count(*) FROM subjects").fetchone()[0])

    def _wrap(self, token: str, data_key: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, data_key, token.encode())

    def _unwrapped(self) -> dict[str, bytes]:
        wrapped = self._con.execute(
            "SELECT token, data_key FROM wanted JOIN subjects USING (token) WHERE data_key IS NOT NULL"
        ).fetchall()
        return {token: self._unwrap(token, blob) for token, blob in wrapped}

    def _unwrap(self, name: str, blob: bytes) -> bytes:
        try:
            return self._wrapping.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            pass
        raise HomeError("a person's key cannot be opened", where=str(self._path), remedy="Run `assent keys check`")
