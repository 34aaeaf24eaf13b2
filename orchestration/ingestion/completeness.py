"""Whether a file is whole: how it must end, and what its completion marker states about it.

A cut at the end of a line looks like a shorter file, so only a marker that states rows or a hash shows it. Not here:
which day's files have arrived (`arrivals.py`)."""

from __future__ import annotations

import contextlib
import json
import mmap
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestration.ingestion.landing import Delivery
from orchestration.ingestion.refusal import Refused
from orchestration.policy.schema import ConsentFeed, Feed

MOST_BYTES = 4096  # of a marker; the longest that says something is a hash and a name of 255 bytes
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SHA256SUM = re.compile(r"([0-9a-fA-F]{64})(?:[ \t]+\*?([^\r\n]+))?\r?\n?")


@dataclass(frozen=True)
class Statement:
    """What a marker says of its file; what it does not say is None."""

    rows: int | None = None  # records: no header, footer or blank line
    sha256: str | None = None  # of the file as delivered, in lower case

    def require(self, feed: Feed | ConsentFeed) -> None:
        """Raises Refused where the marker leaves out what policy demands of it."""
        if any(getattr(self, name) is None for name in feed.marker_states):
            raise Refused("wrong_marker")

    def hold_sha256(self, found: str) -> None:
        """Raises Refused where the file has another hash."""
        if self.sha256 not in (None, found):
            raise Refused("truncated")

    def hold_rows(self, found: int) -> None:
        """Raises Refused where the file has another number of records."""
        if self.rows not in (None, found):
            raise Refused("truncated")


def statement_of(delivery: Delivery) -> Statement:
    """What the delivery's marker states: nothing (an empty file), the output of `sha256sum`, or JSON with `rows` and/or
    `sha256`. Raises Refused where it is anything else, or speaks of another file."""
    content = _content(delivery.marker) if delivery.marker is not None else ""
    if not content.strip():
        return Statement()
    if content.lstrip().startswith("{"):
        return _of_json(content)
    found = _SHA256SUM.fullmatch(content)
    if found is None or (found[2] is not None and PurePosixPath(found[2]).name != delivery.path.name):
        raise Refused("wrong_marker")
    return Statement(sha256=found[1].lower())


def check_end(text: Path, feed: Feed | ConsentFeed) -> None:
    """Raises Refused where a verified file breaks off: inside its last line, or inside its last message."""
    if feed.format == "parquet":
        return  # it has its footer, or was not verified
    with text.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if feed.format == "xml":
            is_cut = not data[-MOST_BYTES:].rstrip().endswith(b"</xml>") or _is_in_cdata(data)
        else:
            is_cut = feed.final_newline == "required" and data[-1:] not in (b"\n", b"\r")
    if is_cut:
        raise Refused("truncated")


def _is_in_cdata(data: mmap.mmap) -> bool:
    return data.rfind(b"<![CDATA[") > data.rfind(b"]]>")


def _content(marker: Path) -> str:
    content: str | None = None
    try:
        if not marker.is_symlink():  # it may lead anywhere (fault C4)
            with marker.open("rb") as file:
                read = file.read(MOST_BYTES + 1)
            content = read.decode("utf-8-sig") if len(read) <= MOST_BYTES else None
    except (OSError, UnicodeError):
        pass
    if content is None:
        raise Refused("wrong_marker")
    return content


def _of_json(content: str) -> Statement:
    said: dict[str, Any] = {}
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(content, object_pairs_hook=_unique)
    rows, sha256 = said.get("rows"), said.get("sha256")
    is_count = rows is None or (isinstance(rows, int) and not isinstance(rows, bool) and rows >= 0)
    is_hash = sha256 is None or (isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None)
    if not is_count or not is_hash or (rows is None and sha256 is None):
        raise Refused("wrong_marker")
    return Statement(rows, sha256.lower() if sha256 is not None else None)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)
