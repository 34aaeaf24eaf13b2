"""Why a whole file is not read, and the bounds that no file may exceed. Reasons of single rows are in `rows.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestration.policy.schema import Feed

RefusalReason = Literal[
    "truncated",
    "wrong_marker",
    "corrupt",
    "bomb",
    "wrong_encoding",
    "ragged",
    "unknown_column",
    "missing_column",
    "repeated_column",
    "empty",
    "oversized",
    "contract_broken",
    "unreadable",
]

# A row above 1 MiB is quarantined; above 8 MiB the reader's buffers are at risk, so the file is refused (fault C10).
MAX_ROW_BYTES = 1 << 20
MAX_LINE_BYTES = 8 << 20
# A column that policy does not name is dropped; a file with more of them than this is none of the feed's (fault C10).
MOST_UNKNOWN_COLUMNS = 1000


class Refused(Exception):  # noqa: N818 - a file is refused, which is no error of the program
    """The file is not read at all. Carries the reason and, where known, the line number: never what is on the line."""

    def __init__(self, reason: RefusalReason, line: int | None = None) -> None:
        self.reason, self.line = reason, line
        super().__init__(reason if line is None else f"{reason} at line {line}")


@dataclass(frozen=True)
class Limits:
    """Bounds in bytes after decompression; `max_ratio` is decompressed ÷ compressed."""

    max_bytes: int = 4_000_000_000
    max_ratio: int = 200
    max_line_bytes: int = MAX_LINE_BYTES

    @classmethod
    def of(cls, feed: Feed) -> Limits:
        return cls(max_bytes=feed.max_bytes, max_ratio=feed.max_ratio)
