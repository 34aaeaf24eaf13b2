"""The manifest of one export: what a recipient may rely on. Without it a file in the outbox is not deliverable (A6)."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from orchestration.atomic import fsync_folder, write_json

NAME = "manifest.json"
# Why how many people are not in the file: with the list of those removed it would tell of one why they are (E8). It is
# the owner's alone, where a group may read the rest of the outbox.
PRIVATE = "withheld.json"


class FilePart(BaseModel):
    """One file beside the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rows: int
    columns: tuple[str, ...]
    sha256: str


class Manifest(BaseModel):
    """`audience` is absent where the export was withheld; `removals` holds those delivered earlier and no longer in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    status: Literal["written", "withheld"]
    segment: str
    destination: str
    generation: str
    as_of: AwareDatetime
    policy_hash: str
    ledger_head: str  # of the last-mile recheck, not of the build
    ledger_seq: int
    controller: str
    purpose: str
    recipient: str
    legal_entity: str
    role: str
    country: str
    transfer_mechanism: str | None
    encoding: str | None  # None: Parquet
    contact_form: str
    contact_written_as: str
    audience: FilePart | None
    removals: FilePart
    unlistable_removals: int  # delivered earlier, to be removed, but their details are erased here
    withheld: dict[str, int]  # people by reason: of the build and of the recheck
    written_at: AwareDatetime
    expires_at: AwareDatetime  # not to be used after

    def same_content(self, other: Manifest) -> bool:
        """Whether both promise the same files and reasons; when and under which head they were written aside."""
        own = {"written_at", "expires_at", "ledger_head", "ledger_seq"}
        return self.model_dump(exclude=own) == other.model_dump(exclude=own)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`, with its private part; None where one is absent or damaged: then nothing there is
    deliverable."""
    try:
        told = json.loads((folder / NAME).read_bytes())
        if "withheld" not in told:  # an older version wrote it into the manifest
            told |= json.loads((folder / PRIVATE).read_bytes())
        return Manifest.model_validate(told)
    except (OSError, TypeError, ValueError, ValidationError):
        return None


def write_manifest(folder: Path, manifest: Manifest, *, mode: int) -> None:
    """Writes the private part, then the manifest, which `mode` says who may read."""
    write_json(folder / PRIVATE, manifest.model_dump(mode="json", include={"withheld"}))
    write_json(folder / NAME, manifest.model_dump(mode="json", exclude={"withheld"}), mode=mode)


def retract(folder: Path) -> None:
    """Makes what lies in `folder` undeliverable, then removes it: the manifest goes first."""
    (folder / NAME).unlink(missing_ok=True)
    fsync_folder(folder)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()


def manifests(outbox: Path, generation: str | None = None) -> list[Manifest]:
    """Every manifest in the outbox (of one generation), by segment and destination."""
    found = (read_manifest(path.parent) for path in sorted(outbox.glob(f"*/*/{generation or '*'}/{NAME}")))
    return [manifest for manifest in found if manifest is not None]


def is_current(manifest: Manifest | None, folder: Path, now: datetime) -> bool:
    """Whether exactly what `manifest` promises still lies there, byte for byte, and may still be used."""
    if manifest is None or manifest.expires_at <= now:
        return False
    promised = {part.name: part.sha256 for part in (manifest.audience, manifest.removals) if part is not None}
    found = {path.name for path in folder.iterdir()} - {NAME, PRIVATE}
    return found == set(promised) and all(_sha256(folder / name) == sha256 for name, sha256 in promised.items())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
