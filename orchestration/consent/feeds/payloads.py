"""Reads the payloads of a signal feed: where each lies in its file, and what it says. Not here: what it means for us
(`signal_rows.py`)."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestration.consent.feeds.rows import Problem, json_lines, next_record, parse_json
from orchestration.consent.feeds.signatures import holds
from orchestration.consent.signals import xml
from orchestration.consent.signals.registry import format_of
from orchestration.consent.signals.signal import Signal, malformed
from orchestration.ingestion.refusal import MAX_ROW_BYTES, Refused
from orchestration.policy.schema import ConsentFeed
from orchestration.settings import shared_secret

BODIES = ("json", "xml")  # shapes of which a file is one payload, or a list of them
MAX_BODY_BYTES = 8 << 20  # of a webhook: what platforms post is a few thousand bytes
MOST_VALUES = 1_000  # of an envelope that are given names; more are a document, not an envelope
ROWS_AT_A_TIME = 20_000


@dataclass(frozen=True)
class Payload:
    """One payload as it lies in the file, and what it says: several things where it speaks of several subjects."""

    row_no: int
    line: str
    signals: tuple[Signal, ...]
    problem: Problem | None = None  # why nothing of it is believed, not even whom it names


def payloads(path: Path, feed: ConsentFeed) -> Iterator[list[Payload]]:
    """The payloads of a verified UTF-8 file, some ten thousand at a time. Raises Refused."""
    if feed.shape in BODIES:
        yield _body(path, feed)
    elif feed.shape == "csv":
        rows = _csv_rows(path)
        while chunk := list(itertools.islice(rows, ROWS_AT_A_TIME)):
            yield [Payload(n, json.dumps(row, ensure_ascii=False), signals_of(row, feed)) for n, row in chunk]
    else:
        parse = _xml if feed.shape == "xml_lines" else parse_json
        for lines in json_lines(path):
            yield [
                _line(row_no, line, parse(line) if len(line) <= MAX_ROW_BYTES else None, feed) for row_no, line in lines
            ]


def signals_of(document: Any, feed: ConsentFeed) -> tuple[Signal, ...]:
    """What one document says. What lies about the payload, and cannot be told apart from it, never overrules it."""
    assert feed.signal is not None
    form = format_of(feed.signal)
    envelope = _flattened(document, leave_out=feed.body)
    if envelope is None:
        return (malformed("two values of one name, or too many"),)
    if form.decode is not None:
        text = envelope.get(feed.encoded or "")
        signal = Signal() if text is None else form.decode(text.strip())  # no string: nothing is granted
        return (_in_envelope(signal, envelope),)
    assert form.read is not None
    payload = document if feed.body is None else _at(document, feed.body)
    if isinstance(payload, str):  # as it arrived
        payload = parse_document(payload)
    outside = envelope if feed.body is not None else {}
    found = form.read(payload) or [malformed("nothing in it")]
    return tuple(_in_envelope(signal, outside) for signal in found)


def _in_envelope(signal: Signal, envelope: Mapping[str, str]) -> Signal:
    return replace(signal, values={**envelope, **signal.values})


def _line(row_no: int, line: str, document: Any, feed: ConsentFeed) -> Payload:
    if len(line) > MAX_ROW_BYTES:
        return Payload(row_no, line, (), "oversized")
    if document is None:
        return Payload(row_no, line, (malformed("cannot be parsed"),))
    if feed.signature is not None and not _is_signed(document, feed):
        return Payload(row_no, line, (), "bad_signature")
    return Payload(row_no, line, signals_of(document, feed))


def _is_signed(document: Any, feed: ConsentFeed) -> bool:
    """Whether the envelope holds its body as text, with a signature that holds."""
    assert feed.signature is not None
    body, envelope = _at(document, feed.body or ""), _flattened(document, leave_out=feed.body)
    secret = shared_secret(feed.signature.key_env)
    return isinstance(body, str) and envelope is not None and holds(feed.signature, secret, envelope, body)


def _body(path: Path, feed: ConsentFeed) -> list[Payload]:
    """The one body of a webhook, or each member of the list that it is."""
    if path.stat().st_size > MAX_BODY_BYTES:
        raise Refused("oversized")
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        raise Refused("empty")
    document = _xml(text) if feed.shape == "xml" else parse_json(text)
    if isinstance(document, list):
        return [_line(n, json.dumps(one, ensure_ascii=False), one, feed) for n, one in enumerate(document, 1)]
    return [_line(1, text[:MAX_ROW_BYTES], document, feed)]


def parse_document(text: str) -> Any:
    """JSON, or XML where it begins with `<`; None for what is neither."""
    return _xml(text) if text.lstrip().startswith("<") else parse_json(text)


def _xml(text: str) -> Any:
    try:
        return xml.parse(text)
    except xml.UnreadableXml:
        return None


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = [name.strip() for name in next_record(reader) or []]
        if len(set(header)) != len(header) or not all(header):
            raise Refused("missing_column", 1)
        while (cells := next_record(reader)) is not None:
            if not cells:
                continue  # a blank line
            if len(cells) != len(header):
                raise Refused("ragged", reader.line_num)
            yield reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}


def _at(document: Any, place: str) -> Any:
    for name in place.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _flattened(document: Any, *, leave_out: str | None) -> dict[str, str] | None:
    """Every text, whole number and truth value of nested objects by its dotted name; lists are not envelopes. None:
    which value has a name cannot be told."""
    found: dict[str, str] = {}
    pending: list[tuple[str, Any]] = [("", document)]
    while pending:
        name, value = pending.pop()
        if name == leave_out and name:
            continue
        if name in found or len(found) + len(pending) > MOST_VALUES:
            return None
        if isinstance(value, dict):
            pending += [(f"{name}.{inner}" if name else str(inner), leaf) for inner, leaf in value.items()]
        elif isinstance(value, bool):
            found[name] = str(value).lower()
        elif isinstance(value, str | int):
            found[name] = str(value)
    return found
