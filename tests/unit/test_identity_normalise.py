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

SHIPPED = load_policy().organisation
KINDS = {kind.name: kind for kind in SHIPPED.identifier_kinds}
NUMBER = KINDS["member"].model_copy(update={"name": "number", "normalise": "number", "placeholders": ("9*", "17")})
ALL = {"phone": KINDS["phone"], "email": KINDS["email"], "opaque": KINDS["openid"], "number": NUMBER}
ORGANISATION = SHIPPED.model_copy(update={"identifier_kinds": (*SHIPPED.identifier_kinds, NUMBER)})


def one(kind: IdentifierKind, value: str) -> str | None:
    return canonical(kind, value, ORGANISATION)


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
        ("phone", "138 8888 8888", None),
        ("email", "Test@example.com", None),
        ("email", "latest@example.com", "latest@example.com"),
        ("opaque", "null", None),
        ("opaque", " Null ", None),
        ("opaque", "Unknown_7", None),
        ("opaque", "well-unknown", "well-unknown"),
        ("opaque", "未知", None),
        ("opaque", "0", None),
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
        ("number", "17", None),
        ("number", "0091", None),
    ],
)
def test_value_becomes_canonical_or_nobody(kind: str, value: str, expected: str | None) -> None:
    assert one(ALL[kind], value) == expected


PIECES = st.sampled_from([*"0123456789", "138", "86", "+", "+86", "-", " ", ".", ".0", "(", ")", "*", "@", "a", "B",
                          "É", "E+10", "转", "５", "\u00a0", "\u200b", "\t", "null", "NONE",
                          "test", "unknown_", "未知", "17", "İ", "'"])  # fmt: skip
VALUES = st.lists(PIECES, max_size=16).map("".join) | st.from_regex(rf"\A(?:\+?86)?{CN_MOBILE}\Z")


@settings(max_examples=120, deadline=None)
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
    british, chinese = (canonical_sql(KINDS["phone"], f"'{value}'") for value in ("020 7946 0018", "13812345678"))
    found = con.execute(f"SELECT {british}, {chinese}").fetchone()
    assert found == ("+442079460018", None)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)), st.sampled_from(["", " "]), st.sampled_from(["", "7", "@example.com"]), st.data()
)
def test_placeholder_of_policy_identifies_nobody_on_either_path(
    name: str, pad: str, tail: str, data: st.DataObject
) -> None:
    """Whatever the letter case: a whole value, or a beginning with anything after it."""
    rule = data.draw(st.sampled_from(sorted(SHIPPED.placeholders_of(KINDS[name]))))
    value = pad + data.draw(st.sampled_from([rule, rule.upper()])).replace("*", tail or "x")
    found = CON.execute(f"SELECT {canonical_sql(KINDS[name], '$1')}", [value]).fetchone()
    assert found == (one(KINDS[name], value),) == (None,)


def test_placeholder_rules_are_those_of_policy_and_nothing_else() -> None:
    """Without its rule the same value is an identifier: nothing in the code knows it."""
    bare = SHIPPED.model_copy(update={"identity": SHIPPED.identity.model_copy(update={"placeholders": ()})})
    con = duckdb.connect()
    install(con, bare)
    assert canonical(KINDS["openid"], "unknown", bare) == "unknown"
    assert con.execute(f"SELECT {canonical_sql(KINDS['openid'], '$1')}", ["unknown"]).fetchone() == ("unknown",)
