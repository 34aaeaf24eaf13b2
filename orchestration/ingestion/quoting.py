"""Quotes names and texts of the policy for DuckDB. Values of rows never become SQL text."""

from __future__ import annotations

from collections.abc import Iterable


def ident(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: object) -> str:
    """A string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def texts(values: Iterable[object]) -> str:
    """A list literal of strings."""
    return "[" + ", ".join(text(value) for value in values) + "]"
