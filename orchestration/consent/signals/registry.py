"""The signal formats by name. Not here: any of them, each is a module of that name beside this one."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from orchestration.consent.signals.signal import MAX_SIGNAL, Answer, Signal, malformed
from orchestration.policy.schema_sources import SignalFormat

STRINGS = frozenset({"tcf", "gpp", "us_privacy", "gpc"})
NAMES: tuple[str, ...] = get_args(SignalFormat)


@dataclass(frozen=True)
class Format:
    """Either decodes an encoded string, or reads a parsed document."""

    # To a code that is not among the answers: a module is PARTIAL whose payloads speak of what they name only.
    missing: Answer
    decode: Callable[[str], Signal] | None
    read: Callable[[Any], list[Signal]] | None


@functools.cache
def format_of(name: str) -> Format:
    """The format of that name, one of NAMES."""
    module = importlib.import_module(f"orchestration.consent.signals.{name}")
    missing: Answer = "silent" if getattr(module, "PARTIAL", False) else "refused"
    if name in STRINGS:
        return Format(missing, _bounded(module.decode), None)
    return Format(missing, None, module.read)


def _bounded(decode: Callable[[str], Signal]) -> Callable[[str], Signal]:
    return lambda text: decode(text) if len(text) <= MAX_SIGNAL else malformed("too long")
