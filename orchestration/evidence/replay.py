"""Rebuilds a generation from the lake and ledger as known then and the policy of then, and compares the content.

A replay is evidence: it is never published or exported, and leaves nothing behind but its record. It never mends what
it finds. Not here: what was removed since (`survey.py`), and the comparison of rows (`compare.py`)."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import yaml
from pydantic import ValidationError
from sqlalchemy import select

from orchestration.atomic import write_json
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import EVENTS
from orchestration.errors import AssentError, ExitCode, VerifyError
from orchestration.evidence import compare, counts
from orchestration.evidence.survey import Survey, survey
from orchestration.exports.cells import write_moment
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.resolve import resolve
from orchestration.policy.schema import Policy
from orchestration.policy.vocabulary import FILE as VOCABULARY
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse import archive, dbt
from orchestration.warehouse.build import evidence_file, warehouse_file
from orchestration.warehouse.code_hash import code_hash
from orchestration.warehouse.contact_log import contact_points_of
from orchestration.warehouse.content import Tables, describe_tables, hash_tables
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import file_sha256, read_receipt
from orchestration.warehouse.prepare import is_unchanged
from orchestration.warehouse.publish import release_path
from orchestration.warehouse.stage import Read, activity_hash, read_ledger, stage_file

Say = Callable[[str], None]
Status = Literal["equal", "explained", "differs"]


class PolicyOfThenError(AssentError):
    """The archived policy or its models cannot be used as they were."""

    exit_code = ExitCode.POLICY


@dataclass(frozen=True)
class Then:
    """What is archived of one generation."""

    inputs: archive.Inputs
    files: Any  # pa.Table, FILES
    policy: Policy
    project: Path
    sensitive: frozenset[str]


@dataclass(frozen=True)
class Rebuilt:
    """The generation as it comes out today, while it lasts."""

    then: Then
    file: Path
    found: Survey
    records_lost: dict[str, int]  # by cause
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Replay:
    """What a replay found. `problems` is empty exactly where everything that differs is explained."""

    generation: str
    as_of: str
    replayed_at: str
    status: Status
    content_hash_then: str
    content_hash_now: str
    compared_with: Literal["file", "hashes"]
    tables: dict[str, Any]
    files: int
    files_missing: tuple[dict[str, Any], ...]
    rows_gone: dict[str, dict[str, int]]
    records_lost: dict[str, int]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def replay(
    home: Home,
    policy: Policy,
    keys: Keys,
    generation: str,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
    say: Say = lambda _: None,
) -> Replay:
    """Rebuilds `generation` and compares it; writes evidence/<generation>/replays/. `policy` is that of now: it says
    what is past retention today. Raises AssentError where it cannot be rebuilt at all."""
    with home.lock(), rebuilt(home, policy, keys, generation, now=now, ledger_at=ledger_at, say=say) as made:
        say("compare    rows of marts and governance")
        result = _compared(home, made, now)
    place = counts.folder(home, generation) / "replays"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(place / f"{now:%Y%m%dT%H%M%S%f}.json", result.as_json())
    return result


@contextmanager
def rebuilt(
    home: Home,
    policy: Policy,
    keys: Keys,
    generation: str,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
    say: Say = lambda _: None,
) -> Iterator[Rebuilt]:
    """The generation built again in a file that goes at the end. Hold the home's lock."""
    then = read_then(home, keys, generation)
    file = home.building / f"replay_{generation}.duckdb"  # another name than the original: views name their file
    try:
        say("inputs     looking up what was read then")
        found = survey(home, then.files, (then.policy, policy), now=now)
        records, lost = _ledger(home, then, keys, ledger_at)
        with connect(home) as con:
            points = contact_points_of(con, home, then.inputs.contact_note)
        read = Read(found.left, records, points)
        problems = [f"{f.path} was {f.state}: unexplained" for f in found.missing if f.is_unexplained]
        problems += _problems_of_records(then, lost, len(points))
        if activity_hash(home, read, then.inputs.as_of) != then.inputs.activity_hash and not problems:
            problems.append("the deliveries before T are not those of then: unexplained")
        _build(home, then, keys, read, file, say)
        yield Rebuilt(then, file, found, lost, tuple(problems), _notes(then))
    finally:
        for leftover in home.building.glob(f"{file.stem}.*"):
            leftover.unlink()
        shutil.rmtree(home.tmp / "dbt", ignore_errors=True)


def read_then(home: Home, keys: Keys, generation: str) -> Then:
    """The archived inputs with the policy and project of then. Raises where they were changed or cannot be read."""
    inputs, files = archive.load(home, generation)
    if inputs.keys_id != keys.id:
        raise VerifyError("it was built with other keys", where=generation, remedy="Restore the keys of that home")
    folder = home.policies / inputs.project
    text, policy = b"", None
    with contextlib.suppress(OSError):
        text = (folder / "policy.json").read_bytes()
    if archive.sha256_of(text) != inputs.policy_sha256 or not is_unchanged(folder):
        raise VerifyError(
            "the archived policy or its models are not those of then",
            where=f"policies/{inputs.project}",
            remedy="Restore the folder from a backup",
        )
    with contextlib.suppress(ValidationError):
        policy = Policy.model_validate_json(text)
    if policy is None:
        raise PolicyOfThenError(
            "the policy of then is of an older form, which this version of Assent does not read",
            where=f"policies/{inputs.project}/policy.json",
            remedy="Replay it with the version of Assent that built it; its rows are not compared",
        )
    project = yaml.safe_load((folder / "dbt" / "dbt_project.yml").read_text(encoding="utf-8"))
    sensitive = frozenset(name for name, s in project["vars"]["segments"].items() if s["reads_sensitive"])
    return Then(inputs, files, policy, folder / "dbt", sensitive)


def _ledger(home: Home, then: Then, keys: Keys, at: LedgerAt) -> tuple[dict[str, Any], dict[str, int]]:
    """The records up to the head of then, and how many are not there any more: of erased people, or unexplained."""
    head = (then.inputs.ledger_seq, then.inputs.ledger_head)
    _, records = read_ledger(home, then.policy, keys, at, head)
    lost = sum(number - records[name].num_rows for name, number in then.inputs.records.items() if name in records)
    if lost <= 0:
        return records, {}
    with open_ledger(home, keys, at) as (ledger, registry):
        known = set(registry.mapping_arrow()["subject_ref"].to_pylist())
        with ledger.reading() as connection:
            is_erased = (EVENTS.c.type == "status", EVENTS.c.fact == "erased", EVENTS.c.state == "on")
            erased: set[str] = set(connection.execute(select(EVENTS.c.subject_ref).where(*is_erased)).scalars())
            refs = connection.execute(
                select(EVENTS.c.subject_ref, EVENTS.c.object_ref).where(EVENTS.c.seq <= head[0])
            ).all()
    forgotten: list[set[str]] = [{ref for ref in row if ref is not None} - known for row in refs]
    unexplained = len([missing for missing in forgotten if missing - erased])
    return records, {
        cause: number
        for cause, number in (("erasure", lost - min(lost, unexplained)), ("unexplained", min(lost, unexplained)))
        if number
    }


def _problems_of_records(then: Then, lost: dict[str, int], points: int) -> list[str]:
    problems = []
    if lost.get("unexplained"):
        problems.append(f"{lost['unexplained']} records of the ledger name nobody any more: unexplained")
    if points != then.inputs.contact_points and "erasure" not in lost:
        problems.append(f"{points} contact points of then are noted, there were {then.inputs.contact_points}")
    return problems


def _notes(then: Then) -> tuple[str, ...]:
    notes = []
    if then.inputs.code_hash != code_hash():
        notes.append("the code has changed since; what differs may be its doing")
    if then.inputs.vocabulary_sha256 != file_sha256(VOCABULARY):
        notes.append("the closed lists (vocabulary.yaml) have changed since")
    return tuple(notes)


def _build(home: Home, then: Then, keys: Keys, read: Read, file: Path, say: Say) -> None:
    say("warehouse  staging inputs of then")
    stage_file(home, file, then.policy, keys, then.inputs.build, read, then.sensitive)
    say("identity   joining identifiers")
    with connect(home, file) as con:
        resolve(con, then.inputs.as_of, [source.name for source in then.policy.sources.sources])
    say("dbt        building the models of then")
    if not dbt.run_models(home, file, then.project).succeeded:
        raise PolicyOfThenError(
            "the models of then cannot be built from what this version of Assent stages",
            where=str(then.project),
            remedy="Replay it with the version of Assent that built it",
        )


def kept_file(home: Home, generation: str) -> Path | None:
    """The generation's own file, where it is still kept: in force, before, or as evidence."""
    places = (warehouse_file(home, generation), evidence_file(home, generation))
    return next((path for path in places if path.is_file()), None)


def _compared(home: Home, made: Rebuilt, now: datetime) -> Replay:
    inputs = made.then.inputs
    summary = counts.load(home, inputs.generation)
    file, problems = kept_file(home, inputs.generation), list(made.problems)
    with connect(home, made.file, read_only=True) as con:
        described, content = describe_tables(con), hash_tables(con)
    if file is not None:
        problems += _tampered(home, file, inputs.generation, summary["content_hash"])
        cause = next((c for c in ("unexplained", "erasure") if c in made.records_lost), None)
        found = compare.compare(home, file, made.file, made.found, records_cause=cause)
        tables: dict[str, Any] = {name: asdict(table) for name, table in found.items() if not table.is_equal}
        problems += [f"{name}: {t.unexplained} rows differ, unexplained" for name, t in found.items() if t.unexplained]
    else:
        now_tables: Tables = {name: {"rows": rows, "sha256": sha} for name, (_, sha, rows) in described.items()}
        tables, more = _by_hashes(summary.get("tables", {}), now_tables, made)
        problems += more
    is_equal = content == summary["content_hash"] and not tables
    if not is_equal and not tables and not problems:
        problems.append("the content hash differs, and no table says where")
    return Replay(
        generation=inputs.generation,
        as_of=write_moment(inputs.as_of),
        replayed_at=write_moment(now),
        status="differs" if problems else "equal" if is_equal else "explained",
        content_hash_then=summary["content_hash"],
        content_hash_now=content,
        compared_with="hashes" if file is None else "file",
        tables=tables,
        files=made.found.files,
        files_missing=tuple({**asdict(f), "day": str(f.day) if f.day else None} for f in made.found.missing),
        rows_gone=made.found.rows_gone(),
        records_lost=made.records_lost,
        problems=tuple(problems),
        notes=made.notes,
    )


def _tampered(home: Home, file: Path, generation: str, content_hash: str) -> list[str]:
    """What says that the kept file is not the one that passed its checks."""
    receipts = (release_path(home, generation), counts.folder(home, generation) / "release.json")
    receipt = next((found for path in receipts if (found := read_receipt(path)) is not None), None)
    problems = []
    if receipt is None or file_sha256(file) != receipt.file_sha256:
        problems.append(f"{file.relative_to(home.root)} is not the file that passed its checks")
    readable = None
    with contextlib.suppress(duckdb.Error), connect(home, file, read_only=True) as con:
        readable = hash_tables(con)
    if readable is None:
        raise VerifyError("the generation's file cannot be read", where=str(file), remedy="Restore it from a backup")
    if readable != content_hash:
        problems.append(f"{file.relative_to(home.root)} does not hold the rows that its evidence says")
    return problems


def _by_hashes(then: Tables, now: Tables, made: Rebuilt) -> tuple[dict[str, Any], list[str]]:
    """Without the file only whole tables can be compared: which differ, and by how many rows."""
    causes = sorted({str(f.cause) for f in made.found.missing} | set(made.records_lost)) or ["unexplained"]
    if "unexplained" in causes:
        causes = ["unexplained"]
    tables: dict[str, Any] = {}
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            rows = {
                f"rows_{w}": side[name]["rows"] if name in side else 0 for w, side in (("then", then), ("now", now))
            }
            tables[name] = {**rows, "cause": " + ".join(causes)}
    if not then:
        return tables, ["no hashes of its tables were kept, nor its file: only the content hash can be compared"]
    return tables, [f"{name} differs, unexplained" for name in tables if causes == ["unexplained"]]
