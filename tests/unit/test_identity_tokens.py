"""Tokens: real HMAC-SHA256, the same in Python and DuckDB, the same as ever, and DuckDB never sees a key."""

from __future__ import annotations

import hmac

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import LABELS, Mac, Tokeniser, install

RFC_4231 = [  # key, data, HMAC-SHA256; cases 1, 2, 3, 4, 6 and 7 of section 4
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a7"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a"),
    (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f"),
    (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944",
    ),
]


@pytest.mark.parametrize(("key", "data", "expected"), RFC_4231)
def test_mac_is_hmac_sha256(key: bytes, data: bytes, expected: str) -> None:
    assert Mac(key).digests([data])[0].hex() == expected


@given(st.binary(max_size=200), st.lists(st.binary(max_size=300), max_size=20))
def test_mac_is_that_of_the_standard_library(key: bytes, messages: list[bytes]) -> None:
    expected = [hmac.digest(key, message, "sha256")[:16] for message in messages]
    assert Mac(key).digests(messages) == expected


def test_tokens_are_those_that_lakes_and_ledgers_hold() -> None:
    """Another token for the same value would cut everybody from what they said; these were written by version 1."""
    keys, con = Keys.from_seed(1), duckdb.connect()
    install(con, keys)
    expected = ("1d0f3c050584f3360343c9a46f68699f", "4d9cf331efc165a1ad8b74bf72a82eb2")
    assert con.execute("SELECT token('phone', 'e164', '+8613812345678'), keyed_hash('web|id|evt-1')").fetchone() == (
        expected
    )
    tokeniser = Tokeniser(keys)
    assert (tokeniser.token("phone", "e164", "+8613812345678"), tokeniser.keyed_hash("web|id|evt-1")) == expected


def test_duckdb_never_has_the_keys() -> None:
    keys, con = Keys.from_seed(1), duckdb.connect()
    install(con, keys)
    con.execute("CREATE TABLE t AS SELECT range::VARCHAR AS v FROM range(5000)")
    con.execute("SELECT max(token('phone', 'e164', v)), max(keyed_hash(v)) FROM t WHERE v <> '3'").fetchall()
    shown = [
        *con.execute("EXPLAIN ANALYZE SELECT token('phone', 'e164', v), keyed_hash(v) FROM t").fetchall(),
        *con.execute("SELECT * FROM duckdb_variables()").fetchall(),
        *con.execute("SELECT * FROM duckdb_settings()").fetchall(),
        *con.execute("SELECT * FROM duckdb_functions() WHERE function_name IN ('token', 'keyed_hash')").fetchall(),
        *con.execute("SELECT * FROM duckdb_functions() WHERE function_name LIKE 'assent%'").fetchall(),
    ]
    text = repr(shown)
    assert "assent_token" in text, "positive control: the functions are there"
    for key in (keys.derive(label) for label in LABELS.values()):
        for pad in (0, 0x36, 0x5C):
            part = bytes(byte ^ pad for byte in key[:8])
            for form in (part.hex(), repr(part)[2:-1], "".join(f"\\x{byte:02X}" for byte in part)):
                assert form.lower() not in text.lower()
