"""How one value is written into an export: the contact in the destination's form, and cells that no spreadsheet runs.

Not here: which rows and columns are written."""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import UTC, datetime

import phonenumbers

from orchestration.policy.schema import Destination

FORMULA_STARTS = "=+-@\t\r\n\u2212"  # fault C11; their full-width and small forms become these under NFKC
NOT_DIGITS = str.maketrans("", "", " -()./+\u00a0")


def starts_formula(text: str) -> bool:
    """Whether a spreadsheet might run `text`. Blanks before the sign do not help: some programs strip them."""
    return any(
        rest[:1] and unicodedata.normalize("NFKC", rest[0])[:1] in FORMULA_STARTS
        for rest in (text, text.lstrip(" \u3000"))
    )


def safe_cell(text: str) -> str:
    """`text` for a CSV that people may open: a leading apostrophe makes a formula plain text."""
    return f"'{text}" if starts_formula(text) else text


def written_as(destination: Destination) -> str:
    """What a recipient must know to read the contact column; the manifest says it."""
    if destination.contact_form == "sha256":
        return "sha256_hex_of_canonical"  # E.164 with its plus, or the lower-case address
    if destination.kind == "phone" and destination.contact_form == "national":
        return "national_digits"  # of the policy's region; others as 00, country code, number
    if destination.kind == "phone" and destination.format != "parquet":
        return "e164_digits"  # without the plus: a leading `+` is a formula, an apostrophe another number
    return "canonical"


def write_contact(canonical: str, destination: Destination, region: str) -> str | None:
    """The contact as `written_as` says, exact; None where it cannot be written exactly and safely."""
    form = written_as(destination)
    if form == "sha256_hex_of_canonical":
        return hashlib.sha256(canonical.encode()).hexdigest()
    if form == "national_digits":
        canonical = _national(canonical, region)
    elif form == "e164_digits":
        canonical = canonical.removeprefix("+")
    return None if destination.format != "parquet" and starts_formula(canonical) else canonical


def _national(e164: str, region: str) -> str:
    if region == "CN" and e164.startswith("+861") and len(e164) == 14:  # a mobile: nearly every row
        return e164[3:]
    number = phonenumbers.parse(e164)
    if number.country_code != phonenumbers.country_code_for_region(region):
        return f"00{e164[1:]}"
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    return str(national).translate(NOT_DIGITS)


def write_moment(moment: datetime | None) -> str:
    """A UTC instant in ISO 8601; nothing where there is none."""
    if moment is None:
        return ""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%SZ")
