"""IAB US Privacy string, version 1 (`1YNN`). Not here: its place in a GPP string (gpp).

IAB Tech Lab, "U.S. Privacy String (CCPA Opt-Out Storage Format)", U.S. Privacy String Format.
Answer: `sale`. No values."""

from __future__ import annotations

import re

from orchestration.consent.signals.signal import Answer, Signal, malformed

_STRING = re.compile(r"1([YN-])([YN-])([YN-])")


def decode(text: str) -> Signal:
    found = _STRING.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return malformed("not a US Privacy string of version 1")
    notice, opt_out, covered = found.groups()
    return Signal(
        answers={"sale": _sale(notice, opt_out, covered)},
        fields={"version": 1, "notice": notice, "optOutSale": opt_out, "lspaCovered": covered},
    )


def encode(notice: str, opt_out: str, covered: str) -> str:
    text = f"1{notice}{opt_out}{covered}"
    if _STRING.fullmatch(text) is None:
        raise ValueError("each of the three is Y, N or -")
    return text


def _sale(notice: str, opt_out: str, covered: str) -> Answer:
    """`1---` says that the law does not apply. Otherwise silence needs both a notice and no opt-out: an unknown notice
    is none, and "Opt-Out of Sale may never be unknown"."""
    if (notice, opt_out, covered) == ("-", "-", "-"):
        return "silent"
    return "silent" if (notice, opt_out) == ("Y", "N") else "refused"
