"""A `Sec-GPC` header."""

from __future__ import annotations


def answer(text: str, code: str) -> str:
    if code != "gpc" or (len(text) == 1 and text[0] == "1"):
        return "refused"
    return "silent"
