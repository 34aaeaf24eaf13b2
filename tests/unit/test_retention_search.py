"""What a search reads, what it says it could not look at, and that its control touches nobody's files."""

from __future__ import annotations

import gzip
import sqlite3
import zlib
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.retention.control import PREFIX, planted
from orchestration.retention.readings import PIECE, UnreadableError, of_columns, readings
from orchestration.retention.search import files_below

PHONE = "13900000001"


def below(root: Path, *roots: Path) -> tuple[list[str], dict[str, str]]:
    unsearched: dict[str, str] = {}
    found = [path.relative_to(root).as_posix() for path in files_below(root, [root, *roots], unsearched)]
    return found, {Path(name).name: why for name, why in unsearched.items()}


def test_every_file_below_is_found(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a").touch()
    (tmp_path / "b").touch()
    assert below(tmp_path) == (["b", ".hidden/a"], {})


def test_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    assert below(tmp_path / "nowhere") == ([], {"nowhere": "No such file or directory"})


def test_link_is_not_followed_and_one_that_leads_elsewhere_is_told(tmp_path: Path) -> None:
    root, other = tmp_path / "home", tmp_path / "other"
    (root / "in").mkdir(parents=True)
    other.mkdir()
    (other / "file").touch()
    (root / "within").symlink_to(root / "in")
    (root / "folder").symlink_to(other)
    (root / "file").symlink_to(other / "file")
    assert below(root) == ([], dict.fromkeys(("folder", "file"), "a link to another place: name that with --also"))
    assert below(root, other) == ([], {})


def test_control_leaves_other_files_of_a_folder_alone(tmp_path: Path) -> None:
    """Also those that are called as ours are: a folder of --also may be anybody's."""
    home, also = Home.open(tmp_path / "home"), tmp_path / "also"
    also.mkdir()
    theirs = [also / f"{PREFIX}notes.txt", also / f"{PREFIX}0123abcd.txt.bak", also / "control"]
    for path in theirs:
        path.touch()
    left = also / f"{PREFIX}0123abcd.txt"  # of a search that was killed
    left.touch()
    with planted(home, Keys.from_seed(7), [home.root, also], None) as control:
        assert {path for path in control.planted if path.parent == also} - {left}
        assert not left.exists()
    assert sorted(also.iterdir()) == sorted(theirs)


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with planted(home, Keys.from_seed(7), [home.root, tmp_path / "nowhere"], None) as control:
        assert control.bare == (tmp_path / "nowhere",)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([PHONE]), pa.array([PHONE], pa.large_string()), pa.array([PHONE], pa.string_view()),
        pa.array([PHONE]).dictionary_encode(), pa.array([[PHONE]]), pa.array([{"a": [{"b": PHONE}]}]),
        pa.array([[("k", PHONE)]], pa.map_(pa.string(), pa.string())),
        pa.array([PHONE.encode()], pa.binary()), pa.array([PHONE.encode()], pa.binary(11)),
        pa.array([PHONE.encode()], pa.large_binary()), pa.array([PHONE.encode()], pa.binary_view()),
        pa.array([int(PHONE)], pa.int64()), pa.array([int(PHONE)], pa.uint64()),
        pa.array([Decimal(PHONE)], pa.decimal128(20, 2)), pa.array([float(PHONE), None, float("nan"), float("inf")]),
    ],
    ids=lambda values: str(values.type),
)  # fmt: skip
def test_value_of_a_column_is_read_whatever_its_type(values: Any) -> None:
    read = b"".join(data for _, data in of_columns(pa.record_batch({"v": values})))
    assert PHONE.encode() in read


def test_column_of_an_unknown_type_is_not_read_in_silence() -> None:
    class Unknown(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.string(), "unknown")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

    values = pa.ExtensionArray.from_storage(Unknown(), pa.array([PHONE]))
    with pytest.raises(UnreadableError, match="is not read"):
        list(of_columns(pa.record_batch({"v": values})))


def decoded(tmp_path: Path, file: Path) -> list[bytes]:
    """What a file gives beside its name and its bytes as they lie."""
    return [bytes(data) for how, data in readings(Home(tmp_path / "home"), file) if how not in ("name", "bytes")]


@pytest.mark.parametrize("rows", [1, 50_000])
def test_value_that_many_rows_share_is_read_once_and_the_others_too(rows: int) -> None:
    values = pa.array([f"{number}" for number in range(rows)] * 3 + [PHONE, None])
    [(_, data)] = of_columns(pa.record_batch({"v": values}))
    assert data.count(PHONE.encode()) == 1 and len(data.split(b"\0")) == rows + 1


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_what_is_packed_in_a_table_is_unpacked(tmp_path: Path, level: int) -> None:
    """However hard it was packed: the second byte of zlib tells, and may be a letter."""
    file = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(file)) as con:
        con.execute('CREATE TABLE "a ""b" ("c d" TEXT, e BLOB, f INTEGER)')
        con.execute('INSERT INTO "a ""b" VALUES (NULL, ?, 7)', (zlib.compress(PHONE.encode() * 3, level),))
        con.execute('INSERT INTO "a ""b" VALUES (?, NULL, ?)', ("王", int(PHONE)))
        con.commit()
    read = decoded(tmp_path, file)
    assert any(PHONE.encode() * 3 in data for data in read)
    assert any(b"\0".join(["王".encode(), b"", PHONE.encode()]) in data for data in read)


def test_table_in_another_encoding_is_not_read_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(file)) as con:
        con.execute("PRAGMA encoding = 'UTF-16le'")
        con.execute("CREATE TABLE t (v TEXT)")
        con.commit()
    with pytest.raises(UnreadableError, match="UTF-8"):
        decoded(tmp_path, file)


@pytest.mark.parametrize("before", [0, 100, PIECE - 2, PIECE - 1, PIECE, 3 * PIECE + 7])
def test_packed_member_is_found_wherever_it_begins(tmp_path: Path, before: int) -> None:
    """Also where it lies over the edge of two pieces, and is longer than one."""
    file, content = tmp_path / "a.bin", b"".join(f"{number:07}".encode() for number in range(PIECE // 3))
    file.write_bytes(
        b"-" * before + gzip.compress(content + PHONE.encode(), 0 if before > 100 else 6) + b"-" * (9 if before else 0)
    )
    assert any(PHONE.encode() in data for data in decoded(tmp_path, file))
