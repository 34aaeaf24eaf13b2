"""Turns identifiers into keyed tokens, in Python and in DuckDB alike. A token is a pseudonym, not anonymity.

Values must be canonical first (`normalise.py`); the issuer is part of the input, so a token cannot be re-scoped."""

from __future__ import annotations

import hashlib
import hmac

import duckdb

from orchestration.identity.keys import Keys

TOKEN_CHARACTERS = 32  # 128 bits: two of 10⁹ identifiers collide with probability 10⁻²¹
BLOCK_BYTES = 64  # of SHA-256, see RFC 2104
LABELS = {"token": "token", "hash": "keyed hash"}


class Tokeniser:
    """The same functions as the SQL macros, for single values."""

    def __init__(self, keys: Keys) -> None:
        self._token_key = keys.derive(LABELS["token"])
        self._hash_key = keys.derive(LABELS["hash"])

    def token(self, kind: str, issuer: str, canonical: str) -> str:
        """The token of one identifier in canonical form."""
        return _hmac(self._token_key, f"{kind}|{issuer}|{canonical}")

    def keyed_hash(self, value: str) -> str:
        """A keyed hash of any other value: event ids, lines, fields with verb `token`."""
        return _hmac(self._hash_key, value)


def _hmac(key: bytes, message: str) -> str:
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()[:TOKEN_CHARACTERS]


def install(con: duckdb.DuckDBPyConnection, keys: Keys) -> None:
    """Gives this connection the macros `token(kind, issuer, value)` and `keyed_hash(value)`; NULL gives NULL.

    The keys live in the connection's variables, never in SQL text or a file; a `cursor()` needs its own `install`."""
    for name, label in LABELS.items():
        key = keys.derive(label).ljust(BLOCK_BYTES, b"\0")
        for pad, byte in (("inner", 0x36), ("outer", 0x5C)):
            con.execute(f"SET VARIABLE assent_{name}_{pad} = ?::BLOB", [bytes(b ^ byte for b in key)])
    con.execute(f"CREATE OR REPLACE TEMP MACRO keyed_hash(value) AS {_sql_hmac('hash', 'value')}")
    message = "(kind || '|' || issuer || '|' || value)"
    con.execute(f"CREATE OR REPLACE TEMP MACRO token(kind, issuer, value) AS {_sql_hmac('token', message)}")


def _sql_hmac(name: str, message: str) -> str:
    inner = f"sha256(getvariable('assent_{name}_inner') || encode({message}))"
    return f"substr(sha256(getvariable('assent_{name}_outer') || unhex({inner})), 1, {TOKEN_CHARACTERS})"
