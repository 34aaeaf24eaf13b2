"""Global Privacy Control: the value of a `Sec-GPC` header. Not here: the GPC sub-section of a GPP string (gpp).

Only a value of exactly `1` is the signal ("Global Privacy Control", The Sec-GPC Header Field for HTTP Requests): the
code `gpc` is then refused. Anything else says nothing (silent). No values."""

from __future__ import annotations

from orchestration.consent.signals.signal import Signal

PARTIAL = True  # no header says nothing


def decode(text: str) -> Signal:
    on = text == "1"
    return Signal(answers={"gpc": "refused" if on else "silent"}, fields={"Sec-GPC": on})
