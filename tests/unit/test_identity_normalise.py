"""Canonical forms: one by one and set-wise alike; what identifies nobody is None."""

from __future__ import annotations

import duckdb
import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestration.identity.normalise import CN_MOBILE, canonical, canonical_sql, install
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import IdentifierKind

ORGANISATION = load_policy().organisation
KINDS = {kind.name: kind for kind in ORGANISATION.identifier_kinds}
NUMBER = IdentifierKind.model_validate({**KINDS["member"].model_dump(by_alias=True), "normalise": "number"})
ALL = {"phone": KINDS["phone"], "email": KINDS["email"], "opaque": KINDS["openid"], "number": NUMBER}


def one(kind: IdentifierKind, value: str) -> str | None:
    prefixes = ORGANISATION.virtual_phone_prefixes
    return canonical(kind, value, region=ORGANISATION.phone_region, virtual_prefixes=prefixes)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("phone", "13812345678", "+8613812345678"),
        ("phone", " 138 1234-5678 ", "+8613812345678"),
        ("phone", "+86 138 1234 5678", "+8613812345678"),
        ("phone", "8613812345678", "+8613812345678"),
        ("phone", "008613812345678", "+8613812345678"),
        ("phone", "13812345678.0", "+8613812345678"),
        ("phone", "１３８１２３４５６７８", "+8613812345678"),
        ("phone", "(021) 6123 4567", "+862161234567"),
        ("phone", "+49 151 23456789", "+4915123456789"),
        ("phone", "138****1234", None),
        ("phone", "1.38E+10", None),
        ("phone", "13812345678-1234", None),
        ("phone", "13812345678转1234", None),
        ("phone", "13812345678,1234", None),
        ("phone", "17012345678", None),
        ("phone", "1381234567", None),
        ("phone", "12345678901", None),
        ("phone", "", None),
        ("email", " Alice@Example.COM ", "alice@example.com"),
        ("email", "ａlice@example.com", "alice@example.com"),
        ("email", "a@b@c", None),
        ("email", "alice", None),
        ("email", "@example.com", None),
        ("email", "a***@example.com", None),
        ("email", "a b@example.com", None),
        ("email", "a\u202eb@example.com", None),
        ("email", "a@" + "b" * 253, None),
        ("opaque", " oXyZ_1 ", "oXyZ_1"),
        ("opaque", "null", None),
        ("opaque", "UNDEFINED", None),
        ("opaque", "- 0", None),
        ("opaque", "00000000-0000-0000-0000-000000000000", None),
        ("opaque", "a\x00b", None),
        ("opaque", "", None),
        ("number", "17850.0", "17850"),
        ("number", "17850", "17850"),
        ("number", "0017850", "17850"),
        ("number", "1.785E+04", None),
        ("number", "17850.5", None),
        ("number", "-1", None),
        ("number", "0", None),
    ],
)
def test_value_becomes_canonical_or_nobody(kind: str, value: str, expected: str | None) -> None:
    assert one(ALL[kind], value) == expected


PIECES = st.sampled_from([*"0123456789", "138", "86", "+", "+86", "-", " ", ".", ".0", "(", ")", "*", "@", "a", "B",
                          "É", "E+10", "转", "５", "\u00a0", "\u200b", "\t", "null", "İ", "'"])  # fmt: skip
VALUES = st.lists(PIECES, max_size=16).map("".join) | st.from_regex(rf"\A(?:\+?86)?{CN_MOBILE}\Z")


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=30))
@example(
    [
        "17012345678",
        "+8617112345678",
        "-13812345678",
        "13812345678-",
        "+ 8613812345678",
        "+-8613812345678",
        "- 0",
        " -0 0",
    ]
)
def test_columns_give_the_same_as_single_values(values: list[str]) -> None:
    CON.execute("CREATE OR REPLACE TEMP TABLE v AS SELECT unnest($1::VARCHAR[]) AS value", [values])
    for kind in ALL.values():
        found = CON.execute(f"SELECT value, {canonical_sql(kind, 'value')} FROM v").fetchall()
        assert found == [(value, one(kind, value)) for value in values]


CON = duckdb.connect()
install(CON, ORGANISATION)


@settings(max_examples=300)
@given(st.from_regex(rf"\A{CN_MOBILE}\Z"))
def test_fast_path_is_what_phonenumbers_holds_valid(mobile: str) -> None:
    assert phonenumbers.is_valid_number(phonenumbers.parse(mobile, "CN"))


def test_null_stays_null_and_slow_values_are_done_once_each() -> None:
    sql = canonical_sql(KINDS["phone"], "value")
    rows = CON.execute(
        f"SELECT {sql}, count(*) FROM (SELECT CASE WHEN i % 2 = 0 THEN '021-61234567' END AS value "
        "FROM range(200000) r(i)) GROUP BY 1 ORDER BY 1 NULLS LAST"
    ).fetchall()
    assert rows == [("+862161234567", 100_000), (None, 100_000)]


def test_other_regions_have_no_chinese_shortcut() -> None:
    con = duckdb.connect()
    install(con, ORGANISATION.model_copy(update={"phone_region": "GB", "virtual_phone_prefixes": ()}))
    found = con.execute("SELECT canonical_phone('020 7946 0018'), canonical_phone('13812345678')").fetchone()
    assert found == ("+442079460018", None)
