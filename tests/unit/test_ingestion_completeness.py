"""A file that was cut anywhere is refused whole; where a cut cannot be seen in the file, its marker shows it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.ingestion import lake
from orchestration.ingestion.completeness import Statement, statement_of
from orchestration.ingestion.landing import Delivery
from orchestration.ingestion.refusal import Refused
from tests.markers import mark
from tests.unit.ingestion_world import World, row

HEADER = "id,event,at,phone,account,note,amount,secret\n"
ROWS = [row(n, note=note) for n, note in enumerate(("plain", 'a "quoted" one', "two\nlines", "张三, 李四"))]
JSONL = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in ROWS)
CSV = HEADER + "".join(
    f'{r["id"]},view,{r["at"]},,{r["account"]},"{r["note"].replace(chr(34), chr(34) * 2)}",,\n' for r in ROWS
)
CRLF = CSV.replace("\n", "\r\n").replace("two\r\nlines", "two\nlines")
XML = "".join(
    f"<xml><FromUserName><![CDATA[{r['account']}]]></FromUserName><CreateTime>1767225600</CreateTime>"
    f"<Event>view</Event><Content><![CDATA[{r['note']}]]></Content></xml>\n"
    for r in ROWS
)
XML_COLUMNS = {"account": "FromUserName", "at": "CreateTime", "event": "Event", "note": "Content"}
XML_SOURCE: dict[str, Any] = {"event_id": None, "occurred_at": {"field": "at", "format": "epoch_s"}}


def ends_of_lines(data: bytes) -> set[int]:
    """Where a cut leaves whole records: after a line end that is in no quotes, with or without its LF."""
    text = data.decode()
    ends = [i + 1 for i, c in enumerate(text) if c in "\r\n" and text[: i + 1].count('"') % 2 == 0]
    return {len(text[:end].encode()) for end in ends}


def ends_of_messages(data: bytes) -> set[int]:
    return {i + extra for i in range(len(data)) if data[:i].endswith(b"</xml>") for extra in (0, 1)}


def deliver_cuts(world: World, data: bytes, name: str, marker: Callable[[Path], Any] | None = None) -> set[int]:
    """Delivers every prefix of `data`, each on its own day; the lengths of those that were not refused."""
    first = date(2020, 1, 1)
    days = {str(first + timedelta(days=length)): length for length in range(len(data) + 1)}
    for day, length in days.items():
        file = world.put(name.format(day=day), data[:length])
        if marker is not None:
            marker(file)
    report = world.ingest()
    accepted = {days[str(manifest.day)] for manifest in lake.manifests(world.home, "shop_src")}
    assert len(accepted) + len(report.refused) == len(days)
    return accepted


def of_jsonl(data: bytes) -> set[int]:
    return {position + 1 for position, byte in enumerate(data) if byte == 0x0A}


@pytest.mark.parametrize(
    ("feed", "data", "boundaries", "source"),
    [
        ({"format": "jsonl"}, JSONL.encode(), of_jsonl, {}),
        ({"format": "csv"}, CSV.encode(), ends_of_lines, {}),
        ({"format": "csv"}, CRLF.encode(), ends_of_lines, {}),
        ({"format": "xml", "columns": XML_COLUMNS}, XML.encode(), ends_of_messages, XML_SOURCE),
    ],
)
def test_cut_of_a_plain_file_without_marker_is_seen_unless_it_is_between_records(
    tmp_path: Path, feed: dict[str, Any], data: bytes, boundaries: Callable[[bytes], set[int]], source: dict[str, Any]
) -> None:
    world = World.make(tmp_path, {**feed, "path": "s-{day}.txt"}, **source)
    accepted = deliver_cuts(world, data, "s-{day}.txt")
    assert len(data) in accepted, "positive control: the whole file"
    assert accepted <= boundaries(data)
    assert len(accepted) > 1, "so the marker tests below test something"


@pytest.mark.parametrize(
    ("feed", "data"),
    [
        ({"format": "jsonl", "compression": "gzip"}, gzip.compress(JSONL.encode(), mtime=0)),
        ({"format": "csv", "compression": "gzip"}, gzip.compress(CSV.encode(), mtime=0)),
        (
            {"format": "csv", "encoding": "gb18030", "footer_rows": 1},
            (CSV + f"合计,,,,,,{len(ROWS)},\n").encode("gb18030"),
        ),
    ],
)
def test_no_cut_of_a_packed_file_or_one_with_a_footer_is_taken_for_whole(
    tmp_path: Path, feed: dict[str, Any], data: bytes
) -> None:
    world = World.make(tmp_path, {**feed, "path": "s-{day}.txt"})
    assert deliver_cuts(world, data, "s-{day}.txt") == {len(data)}


def state_rows(file: Path) -> None:
    file.with_name(file.name + ".done").write_text(json.dumps({"rows": len(ROWS)}), "utf-8")


def state_whole(data: bytes) -> Callable[[Path], Any]:
    digest = hashlib.sha256(data).hexdigest()
    return lambda file: file.with_name(file.name + ".done").write_text(f"{digest} *{file.name}\n", "utf-8")


@pytest.mark.parametrize("states", ["rows", "sha256"])
@pytest.mark.parametrize(
    ("feed", "data", "source"),
    [
        ({"format": "jsonl"}, JSONL.encode(), {}),
        ({"format": "csv"}, CSV.encode(), {}),
        ({"format": "xml", "columns": XML_COLUMNS}, XML.encode(), XML_SOURCE),
    ],
)
def test_no_cut_passes_a_marker_that_states_what_it_completes(
    tmp_path: Path, states: str, feed: dict[str, Any], data: bytes, source: dict[str, Any]
) -> None:
    given = {**feed, "path": "s-{day}.txt", "marker": ".done", "marker_states": [states]}
    world = World.make(tmp_path, given, **source)
    accepted = deliver_cuts(world, data, "s-{day}.txt", state_rows if states == "rows" else state_whole(data))
    lost_nothing = {len(data), len(data) - 1} if states == "rows" and feed["format"] == "xml" else {len(data)}
    assert accepted == lost_nothing


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", Statement()),
        (b" \n", Statement()),
        (b'{"rows": 3}', Statement(rows=3)),
        (b'\xef\xbb\xbf{"rows": 0, "written_at": "noon"}\r\n', Statement(rows=0)),
        (b'{"rows": 3, "sha256": "' + b"AB" * 32 + b'"}', Statement(3, "ab" * 32)),
        (b"ab" * 32, Statement(sha256="ab" * 32)),
        (b"ab" * 32 + b"  s.txt\n", Statement(sha256="ab" * 32)),
        (b"ab" * 32 + b" *landing/s.txt\r\n", Statement(sha256="ab" * 32)),
        (b"ab" * 32 + b"  other.txt\n", None),
        (b"ab" * 32 + b"  s.txt\n" + b"cd" * 32 + b"  s.txt\n", None),
        (b"ab" * 31, None),
        (b"done", None),
        (b"3", None),
        (b"{}", None),
        (b'{"row": 3}', None),
        (b'{"rows": "3"}', None),
        (b'{"rows": true}', None),
        (b'{"rows": -1}', None),
        (b'{"rows": 3.0}', None),
        (b'{"rows": 3, "rows": 4}', None),
        (b'{"rows": 3, "sha256": "ab"}', None),
        (b'{"rows": 3', None),
        (b"{" * 4000, None),
        (b" " * 5000, None),
        ('{"rows": 3}'.encode("utf-16"), None),
    ],
)
def test_marker_states_what_it_says_and_nothing_else(
    tmp_path: Path, content: bytes, expected: Statement | None
) -> None:
    file, marker = tmp_path / "s.txt", tmp_path / "s.txt.done"
    marker.write_bytes(content)
    delivery = Delivery(file, file.name, None, marker, True)
    if expected is not None:
        assert statement_of(delivery) == expected
        return
    with pytest.raises(Refused, match=r"^wrong_marker$"):
        statement_of(delivery)


def test_marker_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"rows": 1}', "utf-8")
    (tmp_path / "s.txt.done").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match=r"^wrong_marker$"):
        statement_of(Delivery(tmp_path / "s.txt", "s.txt", None, tmp_path / "s.txt.done", True))


@pytest.mark.parametrize("said", ["", '{"rows": 1}', "ready"])
def test_marker_without_what_policy_demands_refuses_its_file(tmp_path: Path, said: str) -> None:
    feed = {"format": "jsonl", "path": "s-{day}.jsonl", "marker": ".done", "marker_states": ["sha256"]}
    world = World.make(tmp_path, feed, after_ingest={"action": "delete"})
    file = world.put("s-2026-01-01.jsonl", [row(1)])
    world.put(f"{file.name}.done", said)
    assert [refused.reason for refused in world.ingest().refused] == ["wrong_marker"]
    assert file.exists()
    mark(file)
    assert world.ingest().accepted == 1
    assert not list(world.landing.iterdir()), "the file and its marker are done with"


def test_file_that_was_taken_for_whole_is_refused_once_its_marker_says_otherwise(tmp_path: Path) -> None:
    world = World.make(tmp_path, {"format": "jsonl", "path": "s-{day}.jsonl", "marker": ".done"})
    file = world.put("s-2026-01-01.jsonl", [row(1)])
    world.put(f"{file.name}.done", "")
    assert (world.ingest().accepted, world.ingest().redelivered) == (1, 1)
    world.put(f"{file.name}.done", '{"rows": 2}')
    assert [refused.reason for refused in world.ingest().refused] == ["truncated"]


def test_source_that_never_ends_its_last_line_says_so_and_marks_its_files(tmp_path: Path) -> None:
    feed = {"format": "jsonl", "path": "s-{day}.jsonl", "marker": ".done", "marker_states": ["sha256"]}
    world = World.make(tmp_path, {**feed, "final_newline": "optional"})
    mark(world.put("s-2026-01-01.jsonl", json.dumps(row(1)) + "\n" + json.dumps(row(2))))
    assert world.ingest().accepted == 2
