"""What a generation was made from, kept beside its evidence: `inputs.json` and the list of files, `inputs.parquet`.

Written by the stage that read it, made durable by the publication. Not here: making it again (`evidence/replay.py`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from orchestration.atomic import replace, write_json
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.ingestion.lake import Manifest, manifests
from orchestration.parquet import read_table
from orchestration.warehouse.build import Build
from orchestration.warehouse.gate import file_sha256

NAMES = ("inputs.json", "inputs.parquet")
FILES = pa.schema(
    [
        ("kind", pa.string()),  # touchpoints, links or deliveries
        ("source", pa.string()),
        ("feed", pa.string()),
        ("batch", pa.string()),
        ("day", pa.date32()),  # of a touchpoint file the business day of its rows, else of its batch
        ("batch_day", pa.date32()),
        ("is_complete", pa.bool_()),
        ("path", pa.string()),  # relative to the home; null for a batch without files
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("modified_ns", pa.int64()),
        ("sha256", pa.string()),
    ]
)
Row = dict[str, Any]


class Inputs(BaseModel):
    """Everything that names a generation, and where the rest of what it read is archived."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    generation: str
    as_of: AwareDatetime
    policy_hash: str
    ledger_head: str
    ledger_seq: int
    lake_hash: str
    activity_hash: str
    keys_id: str
    code_hash: str
    project: str  # folder of policies/ with the policy and the dbt project
    policy_sha256: str  # of the policy.json there
    vocabulary_sha256: str  # of the closed lists
    contact_note: int  # see `contact_log.py`
    contact_points: int  # how many there were
    records: dict[str, int]  # of the ledger, by table: those whose subject the registry knew
    files_sha256: str  # of inputs.parquet

    @property
    def build(self) -> Build:
        names = ("policy_hash", "ledger_head", "ledger_seq", "lake_hash", "activity_hash", "keys_id", "code_hash")
        return Build(as_of=self.as_of, **{name: getattr(self, name) for name in names})


def list_files(home: Home, *, is_measured: bool = True) -> pa.Table:
    """Every file that a build reads now (FILES); `is_measured`: with rows and hash. A file that the last archive lists,
    and that has the same size and time, keeps the hash it had there: hashing the whole history every night would cost
    as much as reading it, and whoever replays hashes what lies there in any case."""
    rows = [row for manifest in manifests(home) for row in _of_batch(home, manifest)]
    rows += [
        {"kind": "deliveries", "path": path.relative_to(home.root).as_posix()}
        for path in sorted((home.evidence / "deliveries").glob("*.parquet"))
    ]
    if is_measured:
        known = _latest(home)
        rows = [_measured(home, row, known) for row in rows]
    return pa.Table.from_pylist(rows, schema=FILES)


def _of_batch(home: Home, manifest: Manifest) -> Iterator[Row]:
    batch = {
        **manifest.model_dump(include={"source", "feed", "batch", "is_complete"}),
        "batch_day": manifest.day,
    }
    lake = home.lake.relative_to(home.root).as_posix()
    for name in manifest.files:
        yield {**batch, "kind": "touchpoints", "day": day_of(name), "path": f"{lake}/{name}"}
    if manifest.links_file:
        yield {**batch, "kind": "links", "day": manifest.day, "path": f"{lake}/{manifest.links_file}"}
    if not manifest.files and not manifest.links_file:
        yield {**batch, "kind": "touchpoints", "day": manifest.day, "path": None}


def day_of(name: str) -> date | None:
    """The business day that a file of the lake is of, by its folder `day=YYYY-MM-DD`."""
    part = next((part for part in name.split("/") if part.startswith("day=")), None)
    return None if part is None else date.fromisoformat(part.removeprefix("day="))


def _measured(home: Home, row: Row, known: dict[str, Row]) -> Row:
    if row["path"] is None:
        return row
    path = home.root / row["path"]
    status = path.stat()
    size = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    before = known.get(row["path"])
    if before is not None and all(before[name] == value for name, value in size.items()):
        return {**row, **size, "rows": before["rows"], "sha256": before["sha256"]}
    return {**row, **size, "rows": pq.read_metadata(path).num_rows, "sha256": file_sha256(path)}


def _latest(home: Home) -> dict[str, Row]:
    """Path → what the newest archive says of it."""
    archives = sorted(home.evidence.glob(f"*/{NAMES[1]}"), key=lambda path: path.stat().st_mtime)
    if not archives:
        return {}
    return {row["path"]: row for row in read_table(archives[-1], FILES).to_pylist() if row["path"]}


def write_archive(home: Home, build: Build, files: pa.Table, **facts: Any) -> None:
    """Lays the archive beside the build; `keep` takes it from there."""
    place = aside(home, build, NAMES[1])
    pq.write_table(files, place, compression="zstd")
    place.chmod(0o600)
    names = set(Inputs.model_fields) & set(Build.__dataclass_fields__)
    inputs = Inputs(
        generation=build.generation,
        files_sha256=file_sha256(place),
        **{name: getattr(build, name) for name in names},
        **facts,
    )
    write_json(aside(home, build, NAMES[0]), inputs.model_dump(mode="json"))


def keep(home: Home, build: Build) -> None:
    """Moves the archive to the generation's evidence, the list first. A build that nothing staged has none."""
    for name in reversed(NAMES):
        if (found := aside(home, build, name)).is_file():
            place = home.evidence / build.generation / name
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(found, place)


def aside(home: Home, build: Build, name: str) -> Path:
    return home.building / f"{build.generation}.{name}"


def load(home: Home, generation: str) -> tuple[Inputs, pa.Table]:
    """The archive of a generation. Raises VerifyError where there is none, or it was changed."""
    place, inputs, files = home.evidence / generation, None, None
    try:
        inputs = Inputs.model_validate_json((place / NAMES[0]).read_bytes())
        if file_sha256(place / NAMES[1]) == inputs.files_sha256 and inputs.build.generation == generation:
            files = read_table(place / NAMES[1], FILES)
    except FileNotFoundError:
        raise VerifyError(
            "what this generation was made from is not archived",
            where=generation,
            remedy="Name a generation of `evidence/` that has inputs.json; older versions of Assent did not write it",
        ) from None
    except (OSError, ValidationError, pa.ArrowException):
        pass
    if inputs is None or files is None:
        raise VerifyError("the archive of its inputs was changed", where=generation, remedy="Restore it from a backup")
    return inputs, files


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
