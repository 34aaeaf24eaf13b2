"""Reads WeChat's XML: messages one after another, flat elements, CDATA or plain text.

Strict on purpose: what a user wrote inside CDATA (`</xml>`, a fake element) can neither end nor forge a message, and
DOCTYPE, entities, comments and nesting are malformed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from orchestration.ingestion.parsed import TOO_LONG, Parsed, known_columns, raw_columns
from orchestration.ingestion.quoting import text, texts
from orchestration.ingestion.readers import LINES
from orchestration.policy.schema import Feed

MESSAGES_PER_BATCH = 20_000
# Up to the first `</xml>` outside CDATA; what has no such end is one broken message.
_MESSAGE = re.compile(r"(?s:(?:<!\[CDATA\[.*?\]\]>|<(?!/xml>|!\[CDATA\[)|[^<])*+</xml>|.+)")
_UNTIL_BRACKETS = r"[^\]]*\](?:[^\]]+\])*\]+"
_CDATA = rf"<!\[CDATA\[{_UNTIL_BRACKETS}(?:[^\]>]{_UNTIL_BRACKETS})*>"  # REX: no backtracking, so safe in RE2's terms
_TAG = r"[A-Za-z][A-Za-z0-9_]{0,63}"
_ELEMENT = rf"<({_TAG})>\s*({_CDATA}|[^<>&]*)\s*</({_TAG})>"
_WHOLE = rf"\s*<xml>\s*(?:{_ELEMENT}\s*)*</xml>\s*"


def message_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Batches of (number of the message from 1, message) of a verified file."""
    messages = [message for message in _MESSAGE.findall(path.read_text("utf-8")) if not message.isspace()]
    for at in range(0, len(messages), MESSAGES_PER_BATCH):
        part = messages[at : at + MESSAGES_PER_BATCH]
        numbers = pa.array(range(at + 1, at + 1 + len(part)), pa.int64())
        yield pa.RecordBatch.from_arrays([numbers, pa.array(part, pa.large_string())], schema=LINES)


def parse(feed: Feed, lines: str) -> Parsed:
    """`lines` names a relation with file_no, row_no and line (a message)."""
    document = (
        f"SELECT file_no, row_no, trim(line, ' \t\r\n') AS line, "
        f"CASE WHEN NOT {TOO_LONG} AND regexp_full_match(line, {text(_WHOLE)}) THEN line END AS doc FROM {lines}"
    )
    taken = (
        f"SELECT *, regexp_extract_all(doc, {text(_ELEMENT)}, 1) AS tags, "
        f"regexp_extract_all(doc, {text(_ELEMENT)}, 2) AS inner_texts, "
        f"regexp_extract_all(doc, {text(_ELEMENT)}, 3) AS closing FROM ({document})"
    )
    problem = (
        f"CASE WHEN {TOO_LONG} THEN 'oversized' WHEN doc IS NULL OR tags <> closing OR len(tags) <> list_unique(tags) "
        f"THEN 'malformed' END"
    )
    known = sorted(known_columns(feed))
    dropped = f"coalesce(len(list_filter(tags, lambda t: NOT list_contains({texts(known)}, t))), 0)"
    relation = (
        f"SELECT file_no, row_no, line, {problem} AS problem, {dropped} AS dropped, tags, inner_texts FROM ({taken})"
    )
    content = f"to_json([{', '.join(map(_value, known))}])::VARCHAR"
    return Parsed(relation, {tag: _value(tag) for tag in raw_columns(feed)}, content)


def _value(tag: str) -> str:
    inner = f"inner_texts[list_position(tags, {text(tag)})]"
    return (
        f"CASE WHEN starts_with({inner}, '<![CDATA[') THEN substr({inner}, 10, length({inner}) - 12) "
        f"ELSE trim({inner}, ' \t\r\n') END"
    )
