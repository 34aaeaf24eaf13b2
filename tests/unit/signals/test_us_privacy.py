"""US Privacy strings and the Sec-GPC header: every value there is, against public vectors and the plain readers."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.consent.signals import gpc, us_privacy
from tests.oracle_signals import gpc as plain_gpc
from tests.oracle_signals import us_privacy as plain

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures is not here")


def vectors(name: str) -> list[Any]:
    return json.loads((FIXTURES / name).read_text()) if FIXTURES.is_dir() else []


@needs_fixtures
@pytest.mark.parametrize("vector", vectors("iab_gpp_vectors/usp_vectors.json"), ids=lambda vector: vector["usp"])
def test_a_public_us_privacy_string_is_read_as_expected(vector: dict[str, Any]) -> None:
    signal = us_privacy.decode(vector["usp"])
    expected = vector["expected"]
    if expected["version"] != 1:  # there is no other version
        assert signal.problem is not None
        return
    assert signal.fields["notice"] == expected["notice"]
    assert signal.fields["optOutSale"] == expected["optOutSale"]
    assert signal.fields["lspaCovered"] == expected["lspa"]


@pytest.mark.parametrize(
    ("text", "sale"),
    [
        ("1YNN", "silent"),
        ("1YNY", "silent"),
        ("1YN-", "silent"),
        ("1YYN", "refused"),
        ("1NNN", "refused"),  # no notice
        ("1-NN", "refused"),  # nobody knows of a notice
        ("1NYY", "refused"),
        ("1-Y-", "refused"),
        ("1---", "silent"),  # the law does not apply
        ("1Y--", "refused"),  # "Opt-Out of Sale may never be unknown"
    ],
)
def test_a_us_privacy_string_answers_for_sale(text: str, sale: str) -> None:
    signal = us_privacy.decode(text)
    assert dict(signal.answers) == {"sale": sale}
    assert signal.problem is None


def test_every_us_privacy_string_is_answered_as_by_the_plain_reader() -> None:
    for parts in product("YN-", repeat=3):
        text = us_privacy.encode(*parts)
        assert us_privacy.decode(text).answers["sale"] == plain.answers(text)("sale")


@pytest.mark.parametrize(
    "text", ["", "1", "1YN", "1YNNN", "1ynn", "0YNN", "2YNN", " 1YNN", "1YNN\n", "1YNX", "１YNN", "1YN–", None, 1]
)
def test_another_text_is_no_us_privacy_string(text: Any) -> None:
    signal = us_privacy.decode(text)
    assert signal.problem is not None
    assert not signal.answers


def test_a_us_privacy_string_of_other_letters_is_not_written() -> None:
    with pytest.raises(ValueError, match="Y, N or -"):
        us_privacy.encode("Y", "X", "N")


def headers() -> list[Any]:
    return [vector for vector in vectors("gpc_vectors/gpc_vectors.json") if isinstance(vector.get("header"), str)]


@needs_fixtures
@pytest.mark.parametrize("vector", headers(), ids=lambda vector: repr(vector["header"]))
def test_a_public_gpc_header_is_read_as_expected(vector: dict[str, Any]) -> None:
    signal = gpc.decode(vector["header"])
    assert signal.answers["gpc"] == ("refused" if vector["expected_gpc"] else "silent")


@given(st.text(max_size=6) | st.sampled_from(["1", "0", "true", "1 ", "11", "１", "1\n"]))
def test_only_exactly_one_is_a_gpc_signal(text: str) -> None:
    signal = gpc.decode(text)
    assert dict(signal.answers) == {"gpc": "refused" if text == "1" else "silent"}
    assert signal.answers["gpc"] == plain_gpc.answers(text)("gpc")


@pytest.mark.parametrize("text", [None, 1, True, b"1", ["1"]])
def test_what_is_no_text_is_no_gpc_signal(text: Any) -> None:
    assert gpc.decode(text).answers["gpc"] == "silent"
