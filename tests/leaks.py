"""Finds secrets wherever bytes may hide them: encodings, hashes, packed files, tables. Not here: what to look for, and
the decoding, which is the product's own (`retention/readings.py`), held to its work by `plant_everywhere`."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import duckdb

from orchestration.home import Home
from orchestration.retention.needles import Needles
from orchestration.retention.readings import UnreadableError, readings
from orchestration.retention.search import files_below

ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030")


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
    """File → the names of the secrets that it holds. It decodes as the product's own searches do
    (`retention/readings.py`); what a file may say is the tests' own list of forms."""
    wanted, found = Needles(needles), dict[str, set[str]]()
    home = Home(Path(tempfile.gettempdir()) / "scan")
    for root in roots:
        for path in files_below(root, [root], {}):
            names = set[str]()
            with contextlib.suppress(UnreadableError):  # damaged, or with a log that is open: its bytes were read
                for _, data in readings(home, path):
                    names |= wanted.found(data)
            if names:
                found[path.relative_to(root).as_posix()] = names
    return found


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
