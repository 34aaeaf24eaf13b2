"""A US Privacy string by its table."""

from __future__ import annotations

from collections.abc import Callable


def answers(text: str) -> Callable[[str], str]:
    """Silent where the law does not apply, or where there was a notice and the consumer did not opt out."""
    told = len(text) == 4 and text[:3] == "1YN" and text[3] in "YN-"
    return lambda code: "silent" if code == "sale" and (told or text == "1---") else "refused"
