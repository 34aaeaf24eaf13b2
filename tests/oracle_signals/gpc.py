"""A `Sec-GPC` header."""

from __future__ import annotations

from collections.abc import Callable


def answers(text: str) -> Callable[[str], str]:
    on = len(text) == 1 and text[0] == "1"
    return lambda code: "silent" if code == "gpc" and not on else "refused"
