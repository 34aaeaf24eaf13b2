"""Rebuilds a generation in a file of its own, from the lake and ledger as known then and the policy of then.

Whoever asks for it compares it (`replay.py`) or asks it (`then.py`); it goes when they are done."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError
from sqlalchemy import select

from orchestration import safe_yaml
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.mirror import Mirror
from orchestration.consent.models import EVENTS
from orchestration.errors import AssentError, ExitCode, VerifyError
from orchestration.evidence.removed import notes_of_removal
from orchestration.evidence.survey import Survey, survey
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.resolve import resolve
from orchestration.policy.schema import Policy
from orchestration.policy.vocabulary import FILE as VOCABULARY
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse import archive, dbt
from orchestration.warehouse.build import evidence_file, warehouse_file
from orchestration.warehouse.code_hash import code_hash
from orchestration.warehouse.contact_log import contact_points_of
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import file_sha256
from orchestration.warehouse.models import PreparedModels
from orchestration.warehouse.prepare import is_unchanged
from orchestration.warehouse.sensitivity import stages_read
from orchestration.warehouse.stage import Read, activity_hash, read_ledger, stage_file

Say = Callable[[str], None]


class PolicyOfThenError(AssentError):
    """The archived policy or its models cannot be used as they were."""

    exit_code = ExitCode.POLICY


@dataclass(frozen=True)
class Then:
    """What is archived of one generation."""

    inputs: archive.Inputs
    files: pa.Table  # FILES of `archive.py`
    policy: Policy
    project: Path
    sensitive: frozenset[str]
    stages: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Rebuilt:
    """The generation as it comes out today, while it lasts."""

    then: Then
    file: Path
    found: Survey
    records_lost: dict[str, int]  # by cause
    problems: tuple[str, ...]
    notes: tuple[str, ...]


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
        problems += _problems_of_records(then, lost, len(points), "erasure" in lost or _is_anybody_erased(home))
        is_explained = any(file.kind == "deliveries" for file in found.missing) or problems
        if activity_hash(home, read, then.inputs.as_of) != then.inputs.activity_hash and not is_explained:
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
    project = safe_yaml.load((folder / "dbt" / "dbt_project.yml").read_text(encoding="utf-8"))
    sensitive = frozenset(name for name, s in project["vars"]["segments"].items() if s["reads_sensitive"])
    stages = stages_read(policy, PreparedModels(folder / "dbt"))
    return Then(inputs, files, policy, folder / "dbt", sensitive, stages)


def _ledger(home: Home, then: Then, keys: Keys, at: LedgerAt) -> tuple[dict[str, Any], dict[str, int]]:
    """The records up to the head of then, and how many are not there any more: of erased people, or unexplained."""
    head = (then.inputs.ledger_seq, then.inputs.ledger_head)
    _, records = read_ledger(home, then.policy, keys, at, head)
    differ = [number - records[name].num_rows for name, number in then.inputs.records.items()]
    if min(differ) < 0:
        return records, {"unexplained": sum(abs(number) for number in differ)}  # more than there were then
    lost = sum(differ)
    if not lost:
        return records, {}
    with open_ledger(home, keys, at) as (ledger, registry):
        unexplained = min(lost, _named_by_nobody(ledger, registry, Mirror(home, keys).read(ledger, head)))
    counted = {"erasure": lost - unexplained, "unexplained": unexplained}
    return records, {cause: number for cause, number in counted.items() if number}


def _named_by_nobody(ledger: Ledger, registry: SubjectRegistry, records: pa.Table) -> int:
    """How many records name somebody whom the registry does not know and no record says was erased."""
    is_erased = (EVENTS.c.type == "status", EVENTS.c.fact == "erased", EVENTS.c.state == "on")
    with ledger.reading() as connection:
        erased: Sequence[str] = connection.execute(select(EVENTS.c.subject_ref).where(*is_erased)).scalars().all()
    explained = pa.concat_arrays(
        [registry.mapping_arrow()["subject_ref"].combine_chunks(), pa.array(erased, pa.string())]
    )
    strangers = [
        pc.and_(pc.is_valid(records[end]), pc.invert(pc.is_in(records[end], value_set=explained)))
        for end in ("subject_ref", "object_ref")
    ]
    return int(pc.sum(pc.or_(*strangers)).as_py() or 0)


def _is_anybody_erased(home: Home) -> bool:
    return any(removal.cause == "erasure" for removal in notes_of_removal(home))


def _problems_of_records(then: Then, lost: dict[str, int], points: int, is_erased: bool) -> list[str]:
    problems = []
    if lost.get("unexplained"):
        problems.append(f"{lost['unexplained']} records of the ledger are not those of then, and nobody was erased")
    if points > then.inputs.contact_points or (points < then.inputs.contact_points and not is_erased):
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
    stage_file(home, file, then.policy, keys, then.inputs.build, read, then.sensitive, then.stages)
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
