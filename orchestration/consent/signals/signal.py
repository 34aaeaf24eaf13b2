"""What a payload says, in the words of its own format. Not here: what that means for a purpose of ours (policy)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# granted: plainly permitted. refused: plainly not. silent: nothing was said, as by who did not opt out.
Answer = Literal["granted", "refused", "silent"]
MAX_SIGNAL = 65_536  # characters of one encoded string: the longest TC string with every vendor there is has 4,000


@dataclass(frozen=True)
class Signal:
    """One thing that was said by one subject at one time. With a `problem` it has no answers: it grants nothing.

    `template.*`, or `*` alone, answers for every code that begins so and is not there. What nothing answers for is
    refused, or silent in a format whose payloads speak of what they name only (a `PARTIAL` module)."""

    answers: Mapping[str, Answer] = field(default_factory=dict)  # the format's code, such as `purpose.3`
    values: Mapping[str, str] = field(default_factory=dict)  # whom, when, which notice, by the payload's own names
    problem: str | None = None  # what does not add up, in a few words that quote nothing of the payload
    fields: Mapping[str, Any] = field(default_factory=dict)  # everything that was decoded, for people to read


def malformed(problem: str) -> Signal:
    """What grants nothing."""
    return Signal(problem=problem)
