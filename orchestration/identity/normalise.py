"""Brings identifier values into one canonical form, or to None where a value identifies nobody.

`canonical` does one value; `install` and `canonical_sql` do columns: plain values in SQL, only the rest in Python.
What is masked, virtual, mangled by a spreadsheet or, by policy, a placeholder is never an identifier."""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from collections.abc import Callable

import duckdb
import phonenumbers
import pyarrow as pa
from duckdb import func

from orchestration.ingestion.quoting import text as literal
from orchestration.policy.schema import IdentifierKind, Organisation

MAX_EMAIL = 254  # RFC 5321
# Chinese mobiles, a subset of what phonenumbers holds valid (a test says so); everything else goes to phonenumbers.
CN_MOBILE = r"1(?:[38][0-9]|4[57]|[59][0-35-9]|6[25-7]|7[0-35-8])[0-9]{8}"
PHONE_CHARACTERS = re.compile(r"(?:\+ *)?\(?[0-9][0-9 ().·-]*")
SEPARATORS = str.maketrans("", "", " ().·-")
# Placeholders are compared with only A-Z made small: Python and SQL differ on other capitals.
SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def canonical(kind: IdentifierKind, value: str, organisation: Organisation) -> str | None:
    """The canonical form of one value, or None."""
    return canonical_of(kind, organisation)(value)


def canonical_of(kind: IdentifierKind, organisation: Organisation) -> Callable[[str], str | None]:
    """What gives the canonical form of many values of a kind: the rules are looked up once."""
    forms: dict[str, Callable[[str], str | None]] = {"email": email, "number": number, "opaque": opaque}
    forms["phone"] = functools.partial(
        phone, region=organisation.phone_region, virtual_prefixes=organisation.virtual_phone_prefixes
    )
    form, (exact, beginnings) = forms[kind.normalise], _placeholders(kind, organisation)

    def one(value: str) -> str | None:
        found = form(value)
        small = found.translate(SMALL) if found else ""
        return None if small in exact or small.startswith(beginnings) else found

    return one


def _placeholders(kind: IdentifierKind, organisation: Organisation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What identifies nobody: whole values, and beginnings of values (`test@*` in policy)."""
    rules = sorted(organisation.placeholders_of(kind))
    exact = tuple(rule for rule in rules if not rule.endswith("*"))
    return exact, tuple(rule.removesuffix("*") for rule in rules if rule.endswith("*"))


def _clean(value: str) -> str | None:
    """NFKC (full-width digits become plain), stripped. None for control, bidi and other invisible characters (C9)."""
    if value.isascii() and value.isprintable():  # nearly all: NFKC leaves it, and nothing in it is invisible
        return value.strip() or None
    text = unicodedata.normalize("NFKC", value).strip()
    if not text or any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") for character in text):
        return None
    return text


def opaque(value: str) -> str | None:
    """An id as the platform gave it: letters keep their case. None for all zeros and masked values."""
    text = _clean(value)
    if text is None or "*" in text or not text.strip(" 0-"):
        return None
    return text


def number(value: str) -> str | None:
    """A whole number without leading zeros; `17850.0` is `17850`. None for `1.785E+04`: digits may be lost."""
    text = _clean(value)
    found = re.fullmatch(r"0*([1-9][0-9]{0,37})(?:\.0*)?", text) if text else None
    return found.group(1) if found else None


def email(value: str) -> str | None:
    """Lower case, exactly one @, something on both sides, no spaces, not masked."""
    text = _clean(value)
    text = _clean(text.lower()) if text else None
    if text is None or len(text) > MAX_EMAIL or not re.fullmatch(r"[^@\s*]+@[^@\s*]+", text):
        return None
    return text


@functools.lru_cache(maxsize=100_000)
def phone(value: str, region: str, virtual_prefixes: tuple[str, ...]) -> str | None:
    """E.164. None for masked, virtual, extended (`-1234`, `转1234`) and mangled (`1.38E+10`) numbers."""
    text = _clean(value)
    text = re.sub(r"^(\+?[0-9]{7,})\.0*$", r"\1", text) if text else None  # as a spreadsheet writes a number
    if text is None or not PHONE_CHARACTERS.fullmatch(text):
        return None
    digits = text.translate(SEPARATORS)
    if len(digits) > 18:
        return None
    try:
        parsed = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    e164 = str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
    return None if e164.startswith(virtual_prefixes) else e164


def install(con: duckdb.DuckDBPyConnection, organisation: Organisation) -> None:
    """Gives this connection the macros that `canonical_sql` calls: one per kind in policy, NULL for NULL."""
    region, prefixes = organisation.phone_region, organisation.virtual_phone_prefixes
    slow: dict[str, Callable[[str], str | None]] = {
        "opaque": opaque,
        "number": number,
        "email": email,
        "phone": lambda value: phone(value, region, prefixes),
    }
    for name, function in slow.items():
        _create_function(con, f"canonical_{name}_slow", function)
        fast, condition = FAST[name]
        if name == "phone" and (region != "CN" or any(not prefix.startswith("+86") for prefix in prefixes)):
            condition = "false"
        elif name == "phone":
            fast = _without_virtual(fast, prefixes)
        con.execute(
            f"CREATE OR REPLACE TEMP MACRO canonical_{name}(value) AS "
            f"CASE WHEN value IS NULL THEN NULL WHEN {condition} THEN {fast} ELSE canonical_{name}_slow(value) END"
        )
    for kind in organisation.identifier_kinds:
        form = f"canonical_{kind.normalise}(value)"
        con.execute(
            f"CREATE OR REPLACE TEMP MACRO identifier_{kind.name}(value) AS "
            f"CASE WHEN {_is_placeholder(kind, organisation, form)} THEN NULL ELSE {form} END"
        )


def canonical_sql(kind: IdentifierKind, expression: str) -> str:
    """The SQL expression for the canonical form of a VARCHAR expression; `install` must have run."""
    return f"identifier_{kind.name}({expression})"


def _is_placeholder(kind: IdentifierKind, organisation: Organisation, form: str) -> str:
    plain = f"translate({form}, {literal(string.ascii_uppercase)}, {literal(string.ascii_lowercase)})"
    # lower() gives the same for ASCII, where bytes are characters, and is 25 times as fast
    small = f"CASE WHEN strlen({form}) = length({form}) THEN lower({form}) ELSE {plain} END"
    exact, beginnings = _placeholders(kind, organisation)
    tests = [f"starts_with({small}, {literal(beginning)})" for beginning in beginnings]
    if exact:
        tests.append(f"({small}) IN ({', '.join(map(literal, exact))})")
    return " OR ".join(tests) or "false"


_PLAIN = "regexp_full_match(value, '[ -~]*')"
# name → (what gives the canonical form, when that is enough). Everything else is left to the Python function.
FAST: dict[str, tuple[str, str]] = {
    "opaque": (
        "CASE WHEN contains(value, '*') OR trim(value, ' 0-') = '' THEN NULL ELSE trim(value) END",
        _PLAIN,
    ),
    "number": ("nullif(regexp_extract(trim(value), '^0*([1-9][0-9]{0,37})(?:\\.0*)?$', 1), '')", _PLAIN),
    "email": (
        f"CASE WHEN length(trim(value)) <= {MAX_EMAIL} AND regexp_full_match(trim(value), '[^@ *]+@[^@ *]+') "
        "THEN lower(trim(value)) END",
        _PLAIN,
    ),
    "phone": (
        "'+86' || right(translate(value, ' -', ''), 11)",
        f"regexp_full_match(translate(value, ' -', ''), '(?:\\+?86)?{CN_MOBILE}') "
        f"AND NOT regexp_matches(value, '^[ +]*-') AND {_PLAIN}",
    ),
}


def _without_virtual(fast: str, prefixes: tuple[str, ...]) -> str:
    tests = " OR ".join(f"starts_with({fast}, '{prefix}')" for prefix in prefixes)
    return f"CASE WHEN {tests} THEN NULL ELSE {fast} END" if tests else fast


def _create_function(con: duckdb.DuckDBPyConnection, name: str, function: Callable[[str], str | None]) -> None:
    def column(values: pa.ChunkedArray) -> pa.Array:
        encoded = pa.chunked_array([values]) if isinstance(values, pa.Array) else values
        encoded = encoded.combine_chunks().dictionary_encode()
        distinct = [None if value is None else function(value) for value in encoded.dictionary.to_pylist()]
        return pa.array(distinct, pa.string()).take(encoded.indices)

    con.create_function(
        name,
        column,
        ["VARCHAR"],
        "VARCHAR",
        type=func.PythonUDFType.ARROW,
        null_handling=func.FunctionNullHandling.SPECIAL,
    )
