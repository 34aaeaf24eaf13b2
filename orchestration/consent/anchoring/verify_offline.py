#!/usr/bin/env python3
"""Verifies an Assent consent ledger anywhere: this one file, Python 3.11 or later, and nothing of Assent.

    python verify_offline.py LEDGER [--heads heads.jsonl --public-key public.pem] [--json]

LEDGER is ledger.sqlite (with the files -wal and -shm beside it, where there are), or the lines of JSON that
`assent verify export` writes. Without --heads this says whether the records are chained without a gap; but a ledger
that was cut, or rewritten whole, is chained too. With the signed heads and a public key that you keep yourself, it
says whether every state that was signed is still in it; for this it needs the Python package `cryptography`.
Exit code 0: all holds. 6: it does not. 2: it could not be verified.

A record's hash is SHA-256 over the JSON object of its columns that are not null, except `hash`: names sorted, no
spaces, ASCII only. `prev_hash` is the hash of the record before it; the first names SHA-256("assent ledger 1")."""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GENESIS = hashlib.sha256(b"assent ledger 1").hexdigest()
FIRST_LINE = hashlib.sha256(b"assent anchor 1").hexdigest()


def canonical(named: dict[str, Any]) -> bytes:
    return json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Every record as {column: value}, in the order of the file (of `seq`, in a database)."""
    with path.open("rb") as file:
        is_database = file.read(16) == b"SQLite format 3\0"
    if is_database:
        mode = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
        cursor = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True).execute(
            "SELECT * FROM events ORDER BY seq"
        )
        names = [column[0] for column in cursor.description]
        yield from (dict(zip(names, row, strict=True)) for row in cursor)
    else:
        with path.open(encoding="utf-8") as file:
            yield from (dict(json.loads(line)) for line in file)


def verify_chain(path: Path) -> tuple[list[str], int | None]:
    """The hashes of the records in sequence, as far as the chain holds; and the first bad sequence, or None."""
    hashes: list[str] = []
    previous = GENESIS
    for record in records(path):
        named = {name: value for name, value in record.items() if name != "hash" and value is not None}
        good = named.get("seq") == len(hashes) + 1 and named.get("prev_hash") == previous
        if not good or hashlib.sha256(canonical(named)).hexdigest() != record.get("hash"):
            return hashes, len(hashes) + 1
        previous = record["hash"]
        hashes.append(previous)
    return hashes, None


def signed_heads(path: Path, public_key: Path) -> list[dict[str, Any]]:
    """The lines of heads.jsonl. Each is signed, and names SHA-256 of the line before it. Raises ValueError."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key: Any = load_pem_public_key(public_key.read_bytes())
    previous, found = FIRST_LINE, []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            head = json.loads(line)
            signature = bytes.fromhex(head.pop("signature"))
            key.verify(signature, canonical(head))
        except (InvalidSignature, ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"the signature of line {number} of the heads is bad") from None
        if head["previous"] != previous or canonical({**head, "signature": signature.hex()}) != line:
            raise ValueError(f"line {number} of the heads does not follow the line before it")
        previous = hashlib.sha256(line).hexdigest()
        found.append(head)
    if not found:
        raise ValueError("nothing was ever signed in the heads")
    return found


def not_held(heads: list[dict[str, Any]], hashes: list[str]) -> int | None:
    """The lowest sequence that was signed and is not in the chain as signed, or None. A `restore` departs from a head:
    what was signed before it of later records was given up then, openly."""
    bad: int | None = None
    limit: int | None = None
    for head in reversed(heads):
        departed = head["departs_from"]
        for seq, digest in [(head["seq"], head["hash"]), *([departed] if departed else [])]:
            in_force = seq > 0 and (limit is None or seq <= limit)
            if in_force and (seq > len(hashes) or hashes[seq - 1] != digest):
                bad = seq if bad is None else min(bad, seq)
        if departed:
            limit = departed[0] if limit is None else min(limit, departed[0])
    return bad


def verify(ledger: Path, heads: Path | None, public_key: Path | None) -> dict[str, Any]:
    """What was found; `problem` says in words what does not hold."""
    hashes, bad = verify_chain(ledger)
    head = hashes[-1] if hashes else GENESIS
    found: dict[str, Any] = {"problem": None, "records": len(hashes), "head": head, "first_bad_seq": bad}
    if heads is not None and public_key is not None:
        signed = signed_heads(heads, public_key)
        found |= {"heads": len(signed), "first_bad_head": not_held(signed, hashes)}
        if found["first_bad_head"]:
            found["problem"] = f"record {found['first_bad_head']} is absent, or not the one that was signed"
    if bad:
        found["problem"] = f"the chain breaks at record {bad}"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Verifies an Assent consent ledger. Exit codes: 0 good, 6 bad, 2 unread."
    )
    parser.add_argument("ledger", type=Path, help="ledger.sqlite, or what `assent verify export` wrote")
    parser.add_argument("--heads", type=Path, help="heads.jsonl of the anchor")
    parser.add_argument("--public-key", type=Path, help="public.pem, the copy that you keep")
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")
    given = parser.parse_args()
    if bool(given.heads) != bool(given.public_key):
        parser.error("--heads and --public-key belong together")
    try:
        found = verify(given.ledger, given.heads, given.public_key)
        code = 6 if found["problem"] else 0
    except ImportError:
        found, code = {"problem": "not verified: signatures need the Python package `cryptography`"}, 2
    except (OSError, sqlite3.Error, UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
        found, code = {"problem": f"not verified: a file cannot be read ({type(error).__name__})"}, 2
    except ValueError as error:
        found, code = {"problem": str(error)}, 6
    if given.json:
        print(json.dumps({"is_good": code == 0, **found}, indent=2))
    else:
        signed = f", {found['heads']} signed heads are in it" if "heads" in found else ""
        print(found["problem"] or f"good: {found['records']} records, head {found['head']}{signed}")
    return code


if __name__ == "__main__":
    sys.exit(main())
