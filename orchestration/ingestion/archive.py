"""What becomes of a landing file once its manifest is durable: kept, deleted, or kept encrypted for some days.

A landing folder outside the home is not ours: it is read only. The encrypted copy goes with the nightly purge."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidTag

from orchestration.atomic import replace
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.landing import Delivery
from orchestration.policy.schema import AfterIngest

LABEL = "archive"
MAGIC = b"ASSENT ARCHIVE 1\n"
CHUNK = 1 << 20
FOREVER = "kept"  # policy names no number of days


def after_ingest(
    home: Home, keys: Keys, source: str, rule: AfterIngest, landing: Path, delivery: Delivery, batch: str, today: date
) -> None:
    """Applies the source's rule to one ingested (or redelivered) file and its marker."""
    if rule.action == "keep" or not landing.resolve().is_relative_to(home.root.resolve()):
        return
    if rule.action == "encrypt":
        until = (today + timedelta(days=rule.keep_days)).isoformat() if rule.keep_days else FOREVER
        _encrypt(home, keys, delivery.path, source, batch, until)
    delivery.path.unlink(missing_ok=True)
    if delivery.marker is not None:
        delivery.marker.unlink(missing_ok=True)


def not_kept(rule: AfterIngest) -> AfterIngest:
    """The rule for a file that names somebody who was erased: no copy of it is kept, plain or encrypted."""
    return rule.model_copy(update={"action": "delete", "keep_days": None})


def read_archived(keys: Keys, path: Path) -> Iterator[bytes]:
    """The bytes of the landing file, piece by piece; nothing of a copy that was cut or altered is taken for whole."""
    cipher = keys.cipher(LABEL)
    failed = False
    with path.open("rb") as sealed:
        batch = path.name.split(".")[0]
        prefix = sealed.read(len(MAGIC) + 8)[len(MAGIC) :]
        counter, ended = 0, False
        while not ended and not failed:
            header = sealed.read(5)
            piece = b""
            try:
                size, ended = struct.unpack(">I?", header)
                nonce = prefix + struct.pack(">I", counter)
                piece = cipher.decrypt(nonce, sealed.read(size), _bound(batch, ended))
            except (InvalidTag, struct.error):
                failed = True
            if not failed:
                yield piece
            counter += 1
    if failed:
        raise HomeError("the encrypted copy is damaged", where=str(path), remedy="Restore it from a backup")


def _encrypt(home: Home, keys: Keys, path: Path, source: str, batch: str, until: str) -> None:
    if not list((home.archive / source).glob(f"{batch}.*.sealed")):
        seal_file(home, keys, path, source, batch, until)


def seal_file(home: Home, keys: Keys, path: Path, source: str, batch: str, until: str) -> Path:
    """Keeps an encrypted copy of `path`, durably; returns where."""
    folder = home.archive / source
    folder.mkdir(parents=True, exist_ok=True)
    cipher, prefix = keys.cipher(LABEL), os.urandom(8)
    aside = home.tmp / f"archive-{batch}"
    with path.open("rb") as plain, aside.open("wb") as out:
        out.write(MAGIC + prefix)
        piece, counter = plain.read(CHUNK), 0
        while True:
            following = plain.read(CHUNK)
            sealed = cipher.encrypt(prefix + struct.pack(">I", counter), piece, _bound(batch, not following))
            out.write(struct.pack(">I?", len(sealed), not following) + sealed)
            if not following:
                break
            piece, counter = following, counter + 1
    place = folder / f"{batch}.{until}.sealed"
    replace(aside, place)
    return place


def _bound(batch: str, is_last: bool) -> bytes:
    return f"{batch}|{'last' if is_last else 'more'}".encode()
