"""What the tests of document formats share: any JSON value, what a reader grants, and documents with a part removed."""

from __future__ import annotations

import copy
import string
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from orchestration.consent.signals.signal import Signal

# A given alphabet: for "any character" Hypothesis first builds a table, for seconds, on a fresh checkout.
CHARACTERS = string.printable + "是否同意张☑☐Ｙ\u017f\u3000\ufeff\u200b\u202e\x00\x7f\ud800\U0001f600"
TEXTS = st.text(CHARACTERS, max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def granted(signals: list[Signal]) -> set[tuple[str, ...]]:
    """(code, whom, which account, when) of every grant."""
    return answered(signals, "granted")


def answered(signals: list[Signal], answer: str) -> set[tuple[str, ...]]:
    names = ("openid", "external_userid", "adviser", "account", "corp", "time", "identity_value")
    return {
        (code, *(signal.values.get(name, "") for name in names))
        for signal in signals
        for code, said in signal.answers.items()
        if said == answer
    }


def without_one_key(document: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a document, each without one key of one of its objects."""
    for path in list(_key_paths(document)):
        shorter = copy.deepcopy(document)
        holder = shorter
        for step in path[:-1]:
            holder = holder[step]
        del holder[path[-1]]
        yield path[-1], shorter


def _key_paths(value: Any) -> Iterator[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        if isinstance(value, dict):
            yield (step,)
        yield from ((step, *rest) for rest in _key_paths(child))
