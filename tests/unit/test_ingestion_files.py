"""Whole files: compression, encodings, limits, CSV shape. A bad file is refused with its reason; the others go on."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from orchestration.ingestion.readers import line_batches, open_lines
from orchestration.ingestion.refusal import Limits, Refused
from tests.markers import mark
from tests.unit.ingestion_world import FIXTURES, World, row

GOOD = gzip.compress(b"one\ntwo\n" * 5000, mtime=0)
WRONG_CRC = GOOD[:-8] + bytes([GOOD[-8] ^ 1]) + GOOD[-7:]
HEADER = "id,event,at,phone,account,note,amount,secret\n"
LINE = "{id},view,2026-01-01T10:00:00Z,,a1,,,\n"


def lines_of(path: Path) -> list[str]:
    return [line for batch in line_batches(path) for line in batch.column("line").to_pylist()]


@pytest.mark.parametrize(
    ("data", "compression", "encoding", "reason"),
    [
        (GOOD[:-4], "gzip", "utf-8", "truncated"),
        (GOOD[: len(GOOD) // 2], "gzip", "utf-8", "truncated"),
        (WRONG_CRC, "gzip", "utf-8", "corrupt"),
        (b"plain text", "gzip", "utf-8", "corrupt"),
        (gzip.compress(b"0\n" * 50_000_000), "gzip", "utf-8", "bomb"),
        (b"", "none", "utf-8", "empty"),
        (gzip.compress(b"", mtime=0), "gzip", "utf-8", "empty"),
        ("é".encode("latin-1"), "none", "utf-8", "wrong_encoding"),
        ("é\n".encode("utf-16"), "none", "utf-8", "wrong_encoding"),
        ("张三".encode("gb18030"), "none", "utf-8", "wrong_encoding"),
        ("张三".encode("gb18030")[:-1], "none", "gb18030", "wrong_encoding"),
        (b"x" * (9 << 20), "none", "utf-8", "oversized"),
    ],
)
def test_open_lines_refuses(tmp_path: Path, data: bytes, compression: str, encoding: str, reason: str) -> None:
    (tmp_path / "in").write_bytes(data)
    (tmp_path / "tmp").mkdir()
    with pytest.raises(Refused) as refused:
        open_lines(tmp_path / "in", compression, encoding, tmp_path / "tmp", Limits())  # type: ignore[arg-type]
    assert refused.value.reason == reason
    assert not list((tmp_path / "tmp").iterdir())  # nothing plain is left behind


def test_open_lines_names_the_line_and_not_what_is_on_it(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"ok\nalso ok\nsecret-\xe9\n")
    with pytest.raises(Refused, match=r"^wrong_encoding at line 3$"):
        open_lines(tmp_path / "in", "none", "utf-8", tmp_path, Limits())


@pytest.mark.parametrize(
    ("data", "compression", "encoding"),
    [
        ("\ufeff张三\r\n\r\n李四".encode(), "none", "utf-8"),
        ("张三\n李四\n".encode("gb18030"), "none", "gb18030"),
        (gzip.compress("张三\n".encode()) + gzip.compress("李四\n".encode()) + b"\0" * 100, "gzip", "utf-8-sig"),
    ],
)
def test_open_lines_gives_verified_utf8(tmp_path: Path, data: bytes, compression: str, encoding: str) -> None:
    (tmp_path / "in").write_bytes(data)
    found = open_lines(tmp_path / "in", compression, encoding, tmp_path, Limits())  # type: ignore[arg-type]
    assert lines_of(found) == ["张三", "李四"]
    assert found.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEADER + LINE.format(id=1) + "2,view\n", "ragged"),
        (HEADER + LINE.format(id=1) + "2,view,2026-01-01T10:00:00Z,,,,,,extra\n", "ragged"),
        (HEADER + '1,"view,2026-01-01T10:00:00Z,,,,,\n' + LINE.format(id=2), "ragged"),
        (HEADER.replace("note", "note,id") + LINE.format(id=1), "repeated_column"),
        (HEADER.replace("note", "note,ID") + LINE.format(id=1), "repeated_column"),
        (HEADER.replace("note", "remark") + LINE.format(id=1), "missing_column"),
        (HEADER.replace(",note", "") + LINE.format(id=1), "missing_column"),
        ("a," * 10_000 + "b\n", "missing_column"),
        (HEADER.replace("\n", "," + ",".join(f"c{n}" for n in range(10_000)) + "\n"), "unknown_column"),
        ("", "empty"),
        (HEADER + f'1,view,2026-01-01T10:00:00Z,,,"{"x" * (9 << 20)}",,\n', "oversized"),
    ],
)
def test_bad_csv_is_refused_and_others_go_on(tmp_path: Path, content: str, reason: str) -> None:
    world = World.make(tmp_path, {"format": "csv", "path": "s-{day}.csv"})
    bad = world.put("s-2026-01-01.csv", content)
    world.put("s-2026-01-02.csv", HEADER + LINE.format(id="good"))
    report = world.ingest()
    assert [(file.file, file.reason) for file in report.refused] == [("s-2026-01-01.csv", reason)]
    assert (report.accepted, report.files) == (1, 1)
    assert bad.exists()
    again = world.ingest()
    assert [file.reason for file in again.refused] == [reason]  # in every run, while it is there
    assert again.redelivered == 1
    assert not list(world.home.tmp.rglob("*.*"))


def test_three_megabyte_field_is_quarantined_alone(tmp_path: Path) -> None:
    world = World.make(tmp_path, {"format": "csv", "path": "s.csv"})
    world.put("s.csv", HEADER + LINE.format(id=1) + f"2,view,2026-01-01T10:00:00Z,,,{'x' * 3_000_000},,\n")
    report = world.ingest()
    assert (report.read, report.accepted, dict(report.quarantined_by_reason)) == (2, 1, {"oversized": 1})
    assert [line for _, _, line in world.quarantined()] == [None]


def test_footer_is_cut_and_a_footer_that_is_data_means_truncated(tmp_path: Path) -> None:
    world = World.make(
        tmp_path,
        {"format": "csv", "encoding": "gb18030", "path": "s-{day}.csv", "footer_rows": 1, "day_format": "%Y%m%d"},
    )
    body = HEADER + LINE.format(id=1) + LINE.format(id=2)
    world.put("s-20260101.csv", (body + "合计,,,,,,2,\n\n").encode("gb18030"))
    world.put("s-20260102.csv", body.encode("gb18030"))
    report = world.ingest()
    assert report.accepted == 2
    assert [(file.file, file.reason) for file in report.refused] == [("s-20260102.csv", "truncated")]


def test_file_that_links_out_of_landing_is_refused(tmp_path: Path) -> None:
    world = World.make(tmp_path, {"format": "jsonl", "path": "s.jsonl"})
    (tmp_path / "elsewhere").write_text(json.dumps(row(1)), "utf-8")
    (world.landing / "s.jsonl").symlink_to(tmp_path / "elsewhere")
    assert [file.reason for file in world.ingest().refused] == ["unreadable"]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures is absent")
@pytest.mark.parametrize(
    "name",
    [
        "comma_in_quotes", "empty", "empty_crlf", "escaped_quotes", "json", "newlines", "newlines_crlf",
        "quotes_and_newlines", "simple", "simple_crlf", "utf8",
    ],
)  # fmt: skip
def test_csv_spectrum_parses_as_expected(tmp_path: Path, name: str) -> None:
    data = (FIXTURES / "csv_spectrum" / "csvs" / f"{name}.csv").read_bytes()
    expected = json.loads((FIXTURES / "csv_spectrum" / "json" / f"{name}.json").read_text("utf-8"))
    header = next(csv.reader(io.StringIO(data.decode(), newline="")))
    fields = [{"name": f"c_{position}", "max_length": 2000} for position in range(len(header))]
    constants = {"event": "view", "at": "2026-01-01T00:00:00Z"}
    world = World.make(
        tmp_path,
        {
            "format": "csv",
            "path": "s.csv",
            "marker": ".done",
            "final_newline": "optional",  # three of them have none
            "columns": {f"c_{position}": column for position, column in enumerate(header)},
            "constants": constants,
        },
        event_id=None,
        identifiers=[],
        fields=[*fields, {"name": "event"}, {"name": "at"}],
    )
    mark(world.put("s.csv", data))
    report = world.ingest()
    assert (report.read, report.accepted) == (len(expected), len(expected))
    found = world.lake(", ".join(f"coalesce(c_{position}, '')" for position in range(len(header))))
    assert sorted(found) == sorted(tuple(record[column] for column in header) for record in expected)
