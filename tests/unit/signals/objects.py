"""Damaged and random consent objects, and what must hold of every reader of them. Not here: any format's documents."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, find, settings
from hypothesis import strategies as st

from orchestration.consent.signals.signal import Signal

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
# No deadline: the machine is shared. No store of examples: a run depends on nothing but the code.
RULES = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
Reader = Callable[[Any], list[Signal]]
Step = str | int
JUNK: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.5,
        2**70,
        [],
        {},
        [[]],
        {"": {}},
        "",
        " ",
        "true",
        "false",
        "TRUE",
        "1",
        "granted",
    ),
    *("\x00", "\ud800", "*", "a*", "x" * 2_000, "2023-01-01T00:00:00Z", 1_700_000_000, 1_700_000_000_000, "1543832130"),
]


def granted(signals: list[Signal]) -> set[str]:
    """Every code that any of the Signals grants."""
    return {name for signal in signals for name, answer in signal.answers.items() if answer == "granted"}


def answers(signals: list[Signal]) -> list[dict[str, str]]:
    return [dict(signal.answers) for signal in signals]


def values(signals: list[Signal]) -> list[dict[str, str]]:
    return [dict(signal.values) for signal in signals]


def nodes(part: Any, path: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Every part of a document with its path, the document itself included."""
    yield path, part
    for step, inner in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield from nodes(inner, (*path, step))


def without(document: Any, path: tuple[Step, ...]) -> Any:
    """A copy of a document that lacks one of its parts."""
    changed = copy.deepcopy(document)
    part = changed
    for step in path[:-1]:
        part = part[step]
    del part[path[-1]]
    return changed


def replaced(document: Any, path: tuple[Step, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    part = changed
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    return changed


@st.composite
def damaged(draw: st.DrawFn, goldens: list[Any], words: list[Any]) -> Any:
    """One of the documents with up to five parts removed, replaced by a word, by junk, or by another of its parts."""
    document = copy.deepcopy(draw(st.sampled_from(goldens)))
    for _ in range(draw(st.integers(0, 5))):
        places = list(nodes(document))
        path, _ = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["remove", "word", "word", "junk", "move"]))
        if how == "remove" and path:
            document = without(document, path)
        elif how == "move":
            document = replaced(document, path, copy.deepcopy(draw(st.sampled_from(places))[1]))
        elif how != "remove":
            document = replaced(document, path, copy.deepcopy(draw(st.sampled_from(words if how == "word" else JUNK))))
        if len(places) > 300:
            break
    return document


def scrambled(goldens: list[Any], words: list[Any]) -> st.SearchStrategy[Any]:
    """Random JSON of the keys and words that the documents use."""
    keys = sorted({step for golden in goldens for path, _ in nodes(golden) for step in path if isinstance(step, str)})
    leaves = st.sampled_from(words + JUNK)
    names = st.sampled_from(keys)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


def documents(goldens: list[Any], words: list[Any]) -> st.SearchStrategy[Any]:
    return damaged(goldens, words) | scrambled(goldens, words)


def check_form(read: Reader, document: Any) -> None:
    """A reader never raises, leaves its input alone, and gives Signals that can be stored; a problem grants nothing."""
    before = copy.deepcopy(document)
    for signal in read(document):
        assert set(signal.answers.values()) <= {"granted", "refused", "silent"}
        assert not (signal.problem and signal.answers)
        for name, value in (*signal.answers.items(), *signal.values.items()):
            assert isinstance(name, str) and isinstance(value, str)
            (name + value).encode("utf-8")
            assert not any(ord(character) < 32 for character in name + value)
    assert repr(document) == repr(before)


def check_removal(read: Reader, document: Any, denies: Callable[[tuple[Step, ...], Any], bool]) -> None:
    """No part that can be taken out of a sound document adds a grant, unless the part is itself a denial."""
    before = read(document)
    if any(signal.problem for signal in before):
        return
    for path, part in list(nodes(document))[1:120]:
        if not any(denies((*path, *inner), leaf) for inner, leaf in nodes(part)):
            assert granted(read(without(document, path))) <= granted(before), path


def fails(check: Callable[[Any], None], strategy: st.SearchStrategy[Any]) -> None:
    """That a check finds a fault: some document of the strategy must break it (else `find` raises)."""

    def is_broken(document: Any) -> bool:
        try:
            check(document)
        except AssertionError:
            return True
        return False

    find(strategy, is_broken, settings=settings(max_examples=3_000, database=None), random=Random(1))
