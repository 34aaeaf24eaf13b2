"""Finds secrets wherever bytes may hide them: encodings, hashes, packed files, tables. Not here: what to look for."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb

ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030")
GZIP = b"\x1f\x8b\x08"


def forms(secret: str) -> set[bytes]:
    """The byte strings that would give `secret` away."""
    spellings = {secret, secret.lower(), secret.upper(), secret.encode("unicode_escape").decode()}
    digits = secret.removeprefix("+86")
    if digits.isdigit():
        spellings |= {digits, f"{digits[:3]} {digits[3:7]} {digits[7:]}", f"{digits[:3]}-{digits[3:7]}-{digits[7:]}"}
        spellings |= {digits[::-1]}
    found = {spelling.encode(code) for spelling in spellings for code in ENCODINGS}
    plain = {spelling.encode() for spelling in {secret, secret.lower(), digits, f"+86{digits}", f"86{digits}"}}
    for name in ("sha256", "sha1", "md5"):  # unkeyed: a hash of a phone is the phone
        hashes = [hashlib.new(name, value) for value in plain]
        found |= {digest for h in hashes for digest in (h.digest(), h.hexdigest().encode())}
    found |= {base64.b64encode(b"x" * shift + value)[4 if shift else 0 : -4] for value in plain for shift in range(3)}
    found |= {value.hex().encode() for value in plain} | {value.hex().upper().encode() for value in plain}
    if digits.isdigit():
        found |= {int(number).to_bytes(8, order) for number in (digits, f"86{digits}") for order in ("little", "big")}
    return found


def scan(roots: Iterable[Path], needles: dict[str, set[bytes]]) -> dict[str, set[str]]:
    """File → the names of the secrets that it holds."""
    found: dict[str, set[str]] = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                names = {name for part in readings(path) for name, forms in needles.items() if _holds(part, forms)}
                if names:
                    found[path.relative_to(root).as_posix()] = names
    return found


def _holds(data: bytes, forms: set[bytes]) -> bool:
    return any(form in data for form in forms)


def readings(path: Path) -> Iterator[bytes]:
    """Every way to read the file: its name, its bytes, what is packed in it, and its tables' values."""
    data = path.read_bytes()
    yield str(path).encode()
    yield data
    yield from _unpacked(data)
    if data.startswith(b"SQLite format 3"):
        yield from _sqlite(path)
    elif data.startswith(b"PAR1"):
        yield _values(duckdb.connect(), f"select * from read_parquet('{path}', hive_partitioning = false)")
    elif data[8:12] == b"DUCK":
        yield from _duckdb(path)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def _unpacked(data: bytes) -> Iterator[bytes]:
    start = data.find(GZIP)
    while start >= 0:
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj(31).decompress(data[start:])
        start = data.find(GZIP, start + 1)
    with contextlib.suppress(zlib.error):
        yield zlib.decompress(data)


def _sqlite(path: Path) -> Iterator[bytes]:
    """Values row by row: one that is spread over pages is not whole in the file. Opening it reads the log as well."""
    with contextlib.closing(sqlite3.connect(path)) as con:
        con.text_factory = bytes
        for (name,) in con.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in con.execute(f'select * from "{name.decode()}"'):
                values = [value if isinstance(value, bytes) else str(value).encode() for value in row]
                yield b"\0".join(values)
                yield from (part for value in values for part in _unpacked(value))


def _duckdb(path: Path) -> Iterator[bytes]:
    with duckdb.connect(str(path), read_only=True) as con:
        tables = con.execute("select table_schema, table_name, table_type from information_schema.tables").fetchall()
        for schema, table, kind in tables:
            # a view of the lake reads its files, which are searched too, and fails where retention took one since
            with contextlib.suppress(*((duckdb.IOException,) if kind == "VIEW" else ())):
                yield _values(con, f'select * from "{schema}"."{table}"')


def _values(con: duckdb.DuckDBPyConnection, query: str) -> bytes:
    found = con.execute(query).fetchall()
    return b"\0".join(v if isinstance(v, bytes) else str(v).encode() for row in found for v in row)


def plant_everywhere(folder: Path, secret: str) -> int:
    """The positive control: one file per way of hiding. Returns how many; a scan must find each."""
    folder.mkdir()
    (folder / "plain.log").write_bytes(f"x{secret}x".encode())
    (folder / "upper.log").write_bytes(secret.upper().encode())
    (folder / "wide.log").write_bytes(f"x{secret}".encode("utf-16"))
    (folder / "hex.log").write_bytes(f"ab{secret}".encode().hex().encode())
    (folder / "hash.log").write_bytes(hashlib.sha256(secret.encode()).hexdigest().encode())
    (folder / "packed.bin").write_bytes(b"before" + gzip.compress(secret.encode()) + b"after")
    for shift in range(3):
        (folder / f"base64_{shift}.log").write_bytes(base64.b64encode(b"y" * shift + secret.encode() + b"tail"))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", secret * 3)
    with contextlib.closing(sqlite3.connect(folder / "a.sqlite")) as con:
        con.execute("create table t (v text)")
        con.execute("insert into t values (?)", [("x" * 4050) + secret])
        con.commit()
    with duckdb.connect(str(folder / "a.duckdb")) as store:
        store.execute("create table t as select ? || (i % 3) as v from range(3000) s(i)", [secret])
        store.execute(f"copy t to '{folder / 'a.parquet'}' (format parquet, compression zstd)")
    (folder / secret).touch()
    return len(list(folder.iterdir()))
