"""A US Privacy string by its table."""

from __future__ import annotations


def answer(text: str, code: str) -> str:
    """Silent where the law does not apply, or where there was a notice and the consumer did not opt out."""
    if code == "sale" and text == "1---":
        return "silent"
    if code == "sale" and len(text) == 4 and text[:3] == "1YN" and text[3] in "YN-":
        return "silent"
    return "refused"
