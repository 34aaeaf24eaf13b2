"""The positive control of a search: secrets of its own, planted in every way of hiding that the search claims to see
through, in every folder that it searches. A search that does not find each of them proves nothing.

Not here: the search (`search.py`)."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import lzma
import pickle
import re
import secrets
import shutil
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.archive import seal_file
from orchestration.ingestion.quarantine import quarantine_aside
from orchestration.retention.needles import forms_of_token, forms_of_value

PREFIX = "assent-control-"  # of everything planted: what a killed search left is removed by the next
IN_FOLDER = re.compile(rf"{PREFIX}[0-9a-f]{{8}}\.txt")  # in folders that may be somebody's: no other file goes
SOURCE = "control"


@dataclass(frozen=True)
class Control:
    """What was planted: the needles by name, and in which file each must be found."""

    forms: dict[str, set[bytes]]
    planted: dict[Path, str]  # file → way of hiding
    line: str  # of the sealed ones
    bare: tuple[Path, ...] = ()  # folders in which nothing could be planted

    def is_found(self, path: Path, how: str) -> bool:
        """Whether a finding read `how` shows what it was planted for: what is packed must be found unpacked."""
        return self.planted.get(path) not in READ_THROUGH or how not in ("name", "bytes")


@contextmanager
def planted(home: Home, keys: Keys, roots: Sequence[Path], line: str | None) -> Iterator[Control]:
    """Plants, and removes all of it at the end. `line` names the control person in the sealed places (None: a search
    that opens none of them); the rest holds a random token and a random value."""
    remove_left(home, roots)
    token, value = secrets.token_hex(16), f"control-{secrets.token_hex(8)}-控@example.invalid"
    folder = home.tmp / f"{PREFIX}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    files: dict[Path, str] = {}
    bare: list[Path] = []
    try:
        for way, write in WAYS.items():
            path = folder / way
            write(path, token, value)
            files[path] = way
        for root in roots:
            path = root / f"{PREFIX}{secrets.token_hex(4)}.txt"
            try:
                path.write_bytes(token.encode())
                files[path] = "in each folder"
            except OSError:  # a folder that we may only read
                bare.append(root)
        if line is not None:
            files |= _seal(home, keys, line)
        yield Control(
            {"control": forms_of_token(token) | forms_of_value(value) | forms_of_value(number_in(value))},
            files,
            line or "",
            tuple(bare),
        )
    finally:
        remove_left(home, roots)


def remove_left(home: Home, roots: Sequence[Path]) -> None:
    for path in home.tmp.glob(f"{PREFIX}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (path for root in roots for path in root.glob(f"{PREFIX}*") if IN_FOLDER.fullmatch(path.name)):
        path.unlink()
    for folder in (home.quarantine / SOURCE, home.archive / SOURCE):
        shutil.rmtree(folder, ignore_errors=True)


def _seal(home: Home, keys: Keys, line: str) -> dict[Path, str]:
    aside, place, _ = quarantine_aside(home, keys, SOURCE, f"{PREFIX}lines", [(1, SOURCE, "", line)])
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside.replace(place)
    plain = home.tmp / f"{PREFIX}plain.gz"
    plain.write_bytes(gzip.compress(line.encode()))
    archived = seal_file(home, keys, plain, SOURCE, "0" * 32, date.today().isoformat())
    plain.unlink()
    return {place: "quarantine", archived: "archive"}


def _sqlite(path: Path, _: str, value: str) -> None:
    with closing(sqlite3.connect(path)) as con:
        con.execute("CREATE TABLE t (v TEXT)")
        con.execute("INSERT INTO t VALUES (?)", ("x" * 4050 + value,))  # over the edge of a page
        con.commit()


def _duckdb(path: Path, token: str, _: str) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute(
            "CREATE TABLE t AS SELECT CASE WHEN i % 3 = 0 THEN ? ELSE 'x' END AS v FROM range(3000) s(i)", [token]
        )


def _parquet(path: Path, token: str, _: str) -> None:
    pq.write_table(pa.table({"v": ["x", token, "x"] * 100}), path, compression="zstd")


def _parquet_of_bytes(path: Path, token: str, _: str) -> None:
    values = pa.array([bytes.fromhex(token)] * 3, pa.binary(len(token) // 2))
    pq.write_table(pa.table({"v": values}), path, compression="zstd")


def _parquet_of_numbers(path: Path, _: str, value: str) -> None:
    """A column that pandas made of numbers with gaps: floats."""
    values = pa.array([float(number_in(value)), None], pa.float64())
    pq.write_table(pa.table({"v": values}), path, compression="zstd")


def number_in(value: str) -> str:
    """A number of as many digits as a phone's that stands for the value."""
    return str(10**12 + int(hashlib.sha256(value.encode()).hexdigest(), 16) % 10**12)


def _zip(path: Path, _: str, value: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", value * 3)


def _zstd(path: Path, _: str, value: str) -> None:
    with path.open("wb") as file, pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd") as stream:
        stream.write(value.encode() * 3)


def _pickle(protocol: int) -> Callable[[Path, str, str], None]:
    def write(path: Path, _: str, value: str) -> None:
        path.write_bytes(pickle.dumps({"v": [value]}, protocol))

    return write


def _msgpack(path: Path, _: str, value: str) -> None:
    """A map of one text, as the specification of MessagePack has it: fixmap, fixstr, str 8."""
    text = value.encode()
    path.write_bytes(b"\x81\xa1v\xd9" + bytes([len(text)]) + text)


def _packed_in_sqlite(path: Path, _: str, value: str) -> None:
    with closing(sqlite3.connect(path)) as con:
        con.execute("CREATE TABLE t (v BLOB)")
        con.execute("INSERT INTO t VALUES (?)", (zlib.compress(value.encode() * 3),))
        con.commit()


def _packed(pack: Callable[[bytes], bytes]) -> Callable[[Path, str, str], None]:
    def write(path: Path, _: str, value: str) -> None:
        path.write_bytes(pack(value.encode() * 3))

    return write


def _bytes(make: Callable[[str, str], bytes]) -> Callable[[Path, str, str], None]:
    def write(path: Path, token: str, value: str) -> None:
        path.write_bytes(b"before" + make(token, value) + b"after")

    return write


WAYS: dict[str, Callable[[Path, str, str], None]] = {
    "text": _bytes(lambda _, value: value.encode()),
    "gb18030": _bytes(lambda _, value: value.encode("gb18030")),
    "utf-16": _bytes(lambda _, value: value.encode("utf-16-le")),
    "upper": _bytes(lambda token, _: token.upper().encode()),
    "raw token": _bytes(lambda token, _: bytes.fromhex(token)),
    "numbers": _bytes(lambda token, _: bytes.fromhex(token)[:8][::-1]),
    "base64 0": _bytes(lambda _, value: base64.b64encode(value.encode() + b"tail")),
    "base64 1": _bytes(lambda _, value: base64.b64encode(b"a" + value.encode() + b"tail")),
    "base64 2": _bytes(lambda _, value: base64.b64encode(b"ab" + value.encode() + b"tail")),
    "hex": _bytes(lambda _, value: value.encode().hex().encode()),
    "gzip": _packed(gzip.compress),
    "bz2": _packed(bz2.compress),
    "xz": _packed(lzma.compress),
    "zstd": _zstd,
    "zip": _zip,
    "zlib": _packed(zlib.compress),
    "gzip within": _packed(lambda data: b"before" + gzip.compress(data) + b"after"),
    "escaped": _bytes(lambda _, value: value.encode("unicode_escape")),
    "sha1": _bytes(lambda _, value: hashlib.sha1(value.encode(), usedforsecurity=False).hexdigest().encode()),
    "pickle 0": _pickle(0),
    "pickle 5": _pickle(5),
    "msgpack": _msgpack,
    "sqlite": _sqlite,
    "zlib in sqlite": _packed_in_sqlite,
    "parquet": _parquet,
    "parquet of bytes": _parquet_of_bytes,
    "parquet of numbers": _parquet_of_numbers,
    "duckdb": _duckdb,
}
# Ways in which the bytes as they lie are not what is claimed to be seen through.
READ_THROUGH = frozenset(
    ("gzip", "bz2", "xz", "zstd", "zip", "zlib", "gzip within", "sqlite", "zlib in sqlite", "parquet", "duckdb",
     "parquet of bytes", "parquet of numbers")
)  # fmt: skip
