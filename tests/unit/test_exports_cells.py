"""Cells and contacts: nothing that a spreadsheet runs, and contacts that stay exact."""

from __future__ import annotations

import csv
import hashlib
import io
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.exports import cells, writer
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Destination

DESTINATIONS = {destination.name: destination for destination in load_policy(SHIPPED).destinations.destinations}
STARTS = ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "﹢", "﹣", "﹦", "﹫", "−"]


def runs(cell: str) -> bool:
    """What a spreadsheet may take for a formula, said in another way than the code under test."""
    first = cell.lstrip(" \u3000")[:1] or cell[:1]
    return first != "" and (unicodedata.normalize("NFKC", first) in "=+-@\t\r\n" or first == "−")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("before", ["", " ", "\u3000 "])
def test_formula_is_neutralised(start: str, before: str) -> None:
    evil = f"{before}{start}cmd|' /C calc'!A0"
    assert runs(evil)
    assert cells.safe_cell(evil) == f"'{evil}"


@given(st.text())
def test_no_written_cell_runs(text: str) -> None:
    assert not runs(cells.safe_cell(text))


@given(st.text(st.characters(codec="gb18030")))
def test_plain_text_is_unchanged_and_survives_the_file(text: str) -> None:
    row = dict.fromkeys(("audience_key", "segment", "notice"), text)
    gateway = DESTINATIONS["sms_gateway"].model_copy(update={"format": "csv_gb18030"})
    rendered = writer.render("audience", list(row), [row], gateway)
    lines = list(csv.reader(io.StringIO(rendered.data.decode("gb18030"), newline="")))
    assert lines[1] == [cells.safe_cell(text)] * 3
    assert lines[1][0] in (text, f"'{text}")


@pytest.mark.parametrize(
    ("destination", "canonical", "written"),
    [
        ("sms_gateway", "+8613800138000", "8613800138000"),  # no plus, no apostrophe: still one number
        ("sms_gateway", "+447911123456", "447911123456"),
        ("front_desk", "+8613800138000", "13800138000"),
        ("front_desk", "+862161234567", "02161234567"),  # a landline keeps its area code
        ("front_desk", "+447911123456", "00447911123456"),
        ("partner_ads", "+8613800138000", hashlib.sha256(b"+8613800138000").hexdigest()),
        ("email_service", "ann@example.com", "ann@example.com"),
        ("push_service", "=token", "=token"),  # Parquet is typed: nothing runs it
    ],
)
def test_contact_is_exact_in_the_declared_form(destination: str, canonical: str, written: str) -> None:
    assert cells.write_contact(canonical, DESTINATIONS[destination], "CN") == written


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_contact_that_would_run_is_kept_back_and_never_altered(start: str) -> None:
    assert cells.write_contact(f"{start}ann@example.com", DESTINATIONS["email_service"], "CN") is None


def test_written_form_is_told_for_every_destination() -> None:
    told = {name: cells.written_as(destination) for name, destination in DESTINATIONS.items()}
    assert told["sms_gateway"] == "e164_digits"
    assert told["front_desk"] == "national_digits"
    assert told["partner_ads"] == "sha256_hex_of_canonical"
    assert told["email_service"] == told["push_service"] == "canonical"


@pytest.mark.parametrize("format", ["csv", "csv_gb18030", "parquet"])
def test_same_rows_give_the_same_bytes_and_read_back(format: str) -> None:
    destination: Destination = DESTINATIONS["sms_gateway"].model_copy(update={"format": format})
    until = datetime(2027, 1, 1, tzinfo=UTC)
    rows = [{"contact": "8613800138000", "segment": "二次购买", "consent_until": until, "admitted_by": 4}]
    columns = ("contact", "segment", "consent_until", "admitted_by")
    first, second = (writer.render("audience", columns, rows, destination) for _ in range(2))
    assert first == second
    read = writer.read_back(first, destination).to_pylist()[0]
    assert (read["contact"], read["segment"], str(read["admitted_by"])) == ("8613800138000", "二次购买", "4")
    if format == "csv":
        assert first.data.startswith(b"\xef\xbb\xbf"), "Excel needs the mark to read Chinese"
        assert read["consent_until"] == "2027-01-01T00:00:00Z"
