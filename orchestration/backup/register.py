"""The register of backups: each one that Assent writes, of the home or of its keys, is noted with where and when.

It is how retention knows them: one that is past its days and still lies where it was written is deleted; one that was
carried away cannot be seen from here, and is named until it is past too. Not here: writing backups."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from orchestration.atomic import fsync_folder, write_json
from orchestration.backup import sealed
from orchestration.errors import HomeError, VerifyError
from orchestration.home import Home
from orchestration.identity import backup as keys_backup

Kind = Literal["home", "keys"]
BEGINS = {"home": sealed.MAGIC, "keys": keys_backup.MAGIC}


class NotedBackup(BaseModel):
    """One backup: where it was written, what it is, when it was made, and the end of it, if it is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: Kind
    path: str  # absolute
    created_at: AwareDatetime
    bytes: int
    sha256: str
    deleting_at: AwareDatetime | None = None  # set before the file goes, so that a kill between is told from a theft
    deleted_at: AwareDatetime | None = None  # by retention


def note_backup(home: Home, kind: Kind, file: Path, *, now: datetime) -> None:
    """Notes a backup that was just written."""
    path = file.expanduser().absolute()
    noted = NotedBackup(kind=kind, path=str(path), created_at=now, bytes=path.stat().st_size, sha256=_sha256(path))
    place = _folder(home)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(place / f"{now:%Y%m%dT%H%M%S%f}-{kind}.json", noted.model_dump(mode="json"))


def noted_backups(home: Home) -> dict[str, NotedBackup]:
    """Name of the note → every backup that retention has not deleted. Raises VerifyError for a damaged note."""
    found = {}
    for path in sorted(_folder(home).glob("*.json")):
        noted = None
        with contextlib.suppress(OSError, ValidationError):
            noted = NotedBackup.model_validate_json(path.read_bytes())
        if noted is None:
            raise VerifyError("a note of a backup is damaged", where=str(path), remedy="Restore it from a backup")
        if noted.deleted_at is None:
            found[path.name] = noted
    return found


def is_where_written(noted: NotedBackup) -> bool:
    """Whether a backup of that size lies there: another file under its name is not ours to delete."""
    path = Path(noted.path)
    with contextlib.suppress(OSError):
        if path.is_file() and not path.is_symlink() and path.stat().st_size == noted.bytes:
            with path.open("rb") as file:
                return file.read(len(BEGINS[noted.kind])) == BEGINS[noted.kind]
    return False


def delete_backup(home: Home, name: str, *, now: datetime) -> None:
    """Deletes the backup of this note where it lies, by its hash, and says so in the note. Again after a kill it goes
    on. Raises HomeError where the file is not that backup any longer."""
    place = _folder(home) / name
    noted = noted_backups(home).get(name)
    if noted is None:
        return
    path = Path(noted.path)
    if path.exists() or noted.deleting_at is None:
        if not is_where_written(noted) or _sha256(path) != noted.sha256:
            raise HomeError(
                "the file is not that backup", where=path.name, remedy="Look what lies there; delete by hand"
            )
        noted = noted.model_copy(update={"deleting_at": now})
        write_json(place, noted.model_dump(mode="json"))
        path.unlink()
        fsync_folder(path.parent)
    write_json(place, noted.model_copy(update={"deleted_at": now}).model_dump(mode="json"))


def _folder(home: Home) -> Path:
    return home.evidence / "backups"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
