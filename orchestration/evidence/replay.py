"""Compares a generation with what comes out when it is built again as it was, and says what explains each difference.

A replay is evidence: it is never published or exported, and leaves nothing behind but its record. It never mends what
it finds. Not here: the rebuilding (`rebuild.py`), and the comparison of rows (`compare.py`)."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from orchestration.atomic import write_json
from orchestration.errors import VerifyError
from orchestration.evidence import compare, counts
from orchestration.evidence.rebuild import Rebuilt, Say, kept_file, rebuilt
from orchestration.exports.cells import write_moment
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.schema import Policy
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse.content import Tables, describe_tables, hash_tables
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import file_sha256, read_receipt
from orchestration.warehouse.publish import release_path

Status = Literal["equal", "explained", "differs"]


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
