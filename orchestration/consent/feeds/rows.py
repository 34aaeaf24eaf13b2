"""Reads a consent delivery into flat rows of text, strictly. Not here: whether a row may be believed (`judge.py`)."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestration.ingestion.readers import line_batches
from orchestration.ingestion.refusal import MAX_ROW_BYTES, Refused

PARTS = {"subject": ("kind", "issuer", "value"), "other": ("kind", "issuer", "value")}
NESTED = {**PARTS, "notice": ("id", "version", "language")}
FLAGS = ("separate", "guardian", "unlink")
DETAILS = ("surface", "place", "actor", "evidence", "system", "fields", "raw")
PLAIN = (
    *("event_id", "type", "controller", "purpose", "category", "recipient", "channel", "decision", "basis", "method"),
    *("locale", "jurisdiction", "fact", "status", "state", "effective_at", "valid_until", "minor_until"),
    *FLAGS,
    *DETAILS,
)
COLUMNS = frozenset(PLAIN) | {f"{outer}_{inner}" for outer, names in NESTED.items() for inner in names}
REQUIRED_COLUMNS = frozenset(
    ("event_id", "type", "subject_kind", "subject_issuer", "subject_value", "controller", "effective_at")
)
Problem = Literal["malformed", "unknown_field", "oversized", "bad_signature"]  # quarantine reasons
_ESCAPED_ASCII = re.compile(r"\\u00[0-7]")  # nobody needs it, and a second subject could hide behind it
_SALVAGE = re.compile(r'"subject"\s*:\s*(\{[^{}]*\})')


@dataclass
class Row:
    """One row: present values as text, `problem` where it is no readable row, `bad` where a value is no text, `blank`
    where it is there and says nothing."""

    row_no: int
    line: str
    values: dict[str, str] = field(default_factory=dict)
    problem: Problem | None = None
    bad: set[str] = field(default_factory=set)
    blank: set[str] = field(default_factory=set)


def json_lines(path: Path) -> Iterator[list[tuple[int, str]]]:
    """The lines of a verified UTF-8 file with their numbers, some ten thousand at a time."""
    for batch in line_batches(path):
        yield list(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))


def json_row(row_no: int, line: str) -> Row:
    """The row of one line, with what is wrong with it."""
    row = Row(row_no, line)
    if len(line) > MAX_ROW_BYTES:
        row.problem = "oversized"
        return row
    tree = parse_json(line)
    if not isinstance(tree, dict):
        row.problem = "malformed"
        _salvage(row)
        return row
    for name, value in tree.items():
        if name in NESTED and isinstance(value, dict):
            for inner, leaf in value.items():
                _take(row, f"{name}_{inner}", leaf, is_known=inner in NESTED[name])
        elif name in NESTED and value is not None:
            row.bad.add(name)
        elif name not in NESTED:
            _take(row, name, value, is_known=name in PLAIN)
    return row


def _take(row: Row, name: str, value: Any, *, is_known: bool) -> None:
    if not is_known:
        row.problem = "unknown_field"
    elif isinstance(value, bool) and name in FLAGS:
        row.values[name] = str(value).lower()
    elif isinstance(value, int) and not isinstance(value, bool) and name in ("subject_value", "other_value"):
        row.values[name] = str(value)  # a phone or member number without quotes is still readable
    elif isinstance(value, str) and _is_text(value):
        if value.strip():
            row.values[name] = value.strip()
        else:
            row.blank.add(name)
    elif value is not None:
        row.bad.add(name)


def json_text(inner: str) -> str:
    """The text, stripped, of the JSON string with these characters between its quotes; nothing where it is none."""
    value = parse_json(f'"{inner}"')
    return value.strip() if isinstance(value, str) and _is_text(value) else ""


def _is_text(value: str) -> bool:
    """JSON can name half of a surrogate pair, which is no text: it has no UTF-8, and so no hash and no token."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key is given twice")  # which of the two is meant cannot be known
    return tree


def _refuse_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant).decode


def parse_json(text: str) -> Any:
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        return None


def _salvage(row: Row) -> None:
    """Of a broken line, the subject where exactly one is there and whole: a restriction can then still bind (H1)."""
    found = _SALVAGE.findall(row.line)
    is_one = len(found) == 1 and row.line.count('"subject') == 1 and not _ESCAPED_ASCII.search(row.line)
    tree = parse_json(found[0]) if is_one else None
    if isinstance(tree, dict):
        for inner, leaf in tree.items():
            if inner in NESTED["subject"]:
                _take(row, f"subject_{inner}", leaf, is_known=True)


def csv_rows(path: Path) -> Iterator[Row]:
    """The rows of a verified UTF-8 file. Raises Refused for other columns or rows of unequal width."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = _header(next_record(reader) or [])
        while (cells := next_record(reader)) is not None:
            if not cells:
                continue  # a blank line
            if len(cells) != len(header):
                raise Refused("ragged", reader.line_num)
            values = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
            row = Row(reader.line_num, json.dumps(cells, ensure_ascii=False), values)
            row.blank = {name for name, cell in zip(header, cells, strict=True) if cell and not cell.strip()}
            for name in FLAGS:
                if name in values:
                    values[name] = values[name].lower()
            yield row


def next_record(reader: Any) -> list[str] | None:
    broken = False
    try:
        return next(reader, None)
    except csv.Error:
        broken = True
    if broken:
        raise Refused("ragged", reader.line_num)
    return None


def _header(names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    if len(set(names)) != len(names) or not COLUMNS.issuperset(names):
        raise Refused("unknown_column", 1)
    if not REQUIRED_COLUMNS.issubset(names):
        raise Refused("missing_column", 1)
    return names
