"""Forms: a registration, a purchase, a questionnaire, on paper, at the till or by telephone; one row, one occasion.

A row of CSV or an object of JSON. Every column is a value under its own name (dotted where objects are nested), and
also an answer where it holds exactly a word for yes or no: which columns are answers is the policy's to say, and an
answer column with a blank or any other word is thereby refused. Suggested names: `place`, `actor`, `evidence`,
`surface`, `language`, `notice_id`, `notice_version`, `time`, `event_id` and a column for the subject.

A form that was ticked beforehand asked nobody (R-02): with a column of that meaning (`PRE_TICKED`), unless it plainly
says no, nothing is granted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from orchestration.consent.signals.signal import Answer, Signal, malformed

MAX_COLUMNS = 500
MAX_NAME = 128
MAX_CELL = 4_096
MAX_NESTING = 4
# Each spelling by itself: folding case or width would make words of characters that nobody wrote as an answer.
YES = frozenset(
    (
        *("是", "同意", "已同意", "勾选", "已勾选", "☑", "✓", "✔"),
        *("1", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"),
    )
)
NO = frozenset(
    (
        *("否", "不同意", "未同意", "未勾选", "拒绝", "☐", "✗", "✘"),
        *("0", "n", "N", "no", "No", "NO", "false", "False", "FALSE"),
    )
)
PRE_TICKED = frozenset(
    (
        *("pre_ticked", "preticked", "is_pre_ticked", "pre_checked", "prechecked", "default_ticked"),
        *("预勾选", "默认勾选"),
    )
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class _Unreadable(Exception):  # noqa: N818 - it is the form that is wrong
    pass


def read(document: Any) -> list[Signal]:
    """The one signal of a form."""
    if not isinstance(document, dict):
        return [malformed("not a row of named columns")]
    try:
        values = _columns(document)
    except _Unreadable as why:
        return [malformed(str(why))]
    answers = {name: answer for name, text in values.items() if (answer := _answer(text)) is not None}
    if any(answers.get(name) != "refused" for name in values if _marks(name)):
        answers = dict.fromkeys(answers, "refused")
    return [Signal(answers=answers, values={name: text for name, text in values.items() if text}, fields=dict(values))]


def _marks(name: str) -> bool:
    return name.rsplit(".", 1)[-1].lower().replace("-", "_").replace(" ", "_") in PRE_TICKED


def _answer(text: str) -> Answer | None:
    if text in YES:
        return "granted"
    return "refused" if text in NO else None


def _columns(document: dict[Any, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in _cells(document, "", MAX_NESTING):
        if len(name) > MAX_NAME or len(text) > MAX_CELL or _CONTROL.search(name) or _CONTROL.search(text):
            raise _Unreadable("a name or cell that no form has")
        if found.setdefault(name, text) != text:
            raise _Unreadable("one column twice, with two contents")
        if len(found) > MAX_COLUMNS:
            raise _Unreadable("too many columns")
    return found


def _cells(document: dict[Any, Any], outer: str, levels: int) -> Iterator[tuple[str, str]]:
    if levels == 0:
        raise _Unreadable("nested too deep")
    for raw, value in document.items():
        # a reader of CSV puts the cells that have no column under None
        name = raw.strip("\ufeff \t\r\n\u3000") if isinstance(raw, str) else ""
        if not name:
            raise _Unreadable("a column without a name")
        if isinstance(value, dict):
            yield from _cells(value, f"{outer}{name}.", levels - 1)
        else:
            yield outer + name, _cell(value)


def _cell(value: Any) -> str:
    """The text of a cell; what is not one value answers nothing and is told of nobody."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 10**30:
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return value.strip() if isinstance(value, str) else ""
