"""The numbers of one generation, as `assent run --json` prints them, and the proof that they sum up.

Everything is counted from what lies on disk: manifests of the lake, the generation's file, manifests of the outbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb

from orchestration.atomic import write_json
from orchestration.errors import VerifyError
from orchestration.exports.cells import write_moment
from orchestration.exports.manifest import Manifest
from orchestration.exports.manifest import manifests as export_manifests
from orchestration.home import Home
from orchestration.ingestion.lake import manifests, source_totals
from orchestration.ingestion.reports import refusals
from orchestration.policy.schema import Policy
from orchestration.warehouse.build import evidence_file, warehouse_file
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.content import Tables
from orchestration.warehouse.duckdb_settings import connect

Summary = dict[str, Any]


class Generation(Protocol):
    """What a build and a published generation both say of themselves."""

    @property
    def generation(self) -> str: ...
    @property
    def as_of(self) -> datetime: ...
    @property
    def policy_hash(self) -> str: ...
    @property
    def ledger_head(self) -> str: ...


def generation_file(home: Home, generation: str) -> Path:
    """The generation's DuckDB file: published, kept as evidence, or still being built."""
    places = (warehouse_file(home, generation), evidence_file(home, generation))
    return next((path for path in places if path.is_file()), home.building / f"{generation}.duckdb")


def summarise(
    home: Home,
    policy: Policy,
    build: Generation,
    *,
    checks: Sequence[CheckResult],
    content_hash: str,
    tables: Tables | None = None,
    redelivered: Mapping[str, int] | None = None,
    people: Mapping[str, int] | None = None,
) -> Summary:
    """The summary of a generation. Raises VerifyError naming what does not sum up."""
    con = connect(home, generation_file(home, build.generation), read_only=True)
    try:
        summary: Summary = {
            "generation": build.generation,
            "as_of": write_moment(build.as_of),
            "policy_hash": build.policy_hash,
            "ledger_head": build.ledger_head,
            "content_hash": content_hash,
            "tables": tables or {},
            "sources": _sources(home, policy, redelivered or {}),
            "people": dict(people or {}),  # how they differ from those in force before (`identity/changes.py`)
            "decisions": _decisions(con),
            "segments": {s.name: {"people": _people(con, s.name)} for s in policy.segments.segments},
            "checks": _checks(checks),
            "exports": [_export(home, manifest) for manifest in export_manifests(home.outbox, build.generation)],
        }
        assert_sums(con, summary)
        return summary
    finally:
        con.close()


def _sources(home: Home, policy: Policy, redelivered: Mapping[str, int]) -> Summary:
    return {
        source.name: {
            **source_totals(home, source.name),
            "quarantined_by_reason": _quarantined(home, source.name),
            "refused_files": len(refusals(home, source.name)),
            "redelivered_files": redelivered.get(source.name, 0),
        }
        for source in policy.sources.sources
    }


def _quarantined(home: Home, source: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for manifest in manifests(home, source):
        for reason, number in manifest.quarantined_by_reason.items():
            counts[reason] = counts.get(reason, 0) + number
    return dict(sorted(counts.items()))


def _decisions(con: duckdb.DuckDBPyConnection) -> Summary:
    decisions: Summary = {}
    rows = con.execute(
        "select purpose, reason, touchpoints from governance.decisions_by_purpose order by all"
    ).fetchall()
    for purpose, reason, number in rows:
        entry = decisions.setdefault(purpose, {"permit": 0, "deny": {}})
        if reason == "permit":
            entry["permit"] += number
        else:
            entry["deny"][reason] = number
    return decisions


def _people(con: duckdb.DuckDBPyConnection, segment: str) -> int:
    found = con.execute(f'select count(*) from marts."{segment}"').fetchone()
    return int(found[0]) if found else 0


def _checks(checks: Sequence[CheckResult]) -> Summary:
    failed = [f"{check.stage}: {check.name}" for check in checks if not check.passed]
    by_stage: dict[str, dict[str, int]] = {}
    for check in checks:
        stage = by_stage.setdefault(check.stage, {"passed": 0, "failed": 0})
        stage["passed" if check.passed else "failed"] += 1
    return {"passed": len(checks) - len(failed), "failed": len(failed), "failures": failed, "by_stage": by_stage}


def _export(home: Home, manifest: Manifest) -> Summary:
    folder = home.outbox / manifest.segment / manifest.destination / manifest.generation
    audience = manifest.audience
    return {
        "segment": manifest.segment,
        "destination": manifest.destination,
        "status": manifest.status,
        "rows": audience.rows if audience else 0,
        "sha256": audience.sha256 if audience else None,
        "path": (folder / audience.name).relative_to(home.root).as_posix() if audience else None,
        "manifest": (folder / "manifest.json").relative_to(home.root).as_posix(),
        "removals": manifest.removals.rows,
        "expires_at": write_moment(manifest.expires_at),
        "withheld": manifest.withheld,
    }


def assert_sums(con: duckdb.DuckDBPyConnection, summary: Summary) -> None:
    """Refuses numbers that contradict one another: a wrong count is worse evidence than none."""
    wrong = [*_wrong_sources(summary), *_wrong_decisions(con, summary), *_wrong_exports(con, summary)]
    if wrong:
        raise VerifyError(f"numbers do not sum up: {'; '.join(wrong)}", where=summary["generation"])


def _wrong_sources(summary: Summary) -> list[str]:
    return [
        f"source {name}: read is not accepted + duplicates + quarantined + suppressed"
        for name, s in summary["sources"].items()
        if s["read"] != s["accepted"] + s["duplicates"] + s["quarantined"] + s.get("suppressed", 0)
        or s["quarantined"] != sum(s["quarantined_by_reason"].values())
    ]


def _wrong_decisions(con: duckdb.DuckDBPyConnection, summary: Summary) -> list[str]:
    found = con.execute("select coalesce(sum(touchpoints), 0)::bigint from governance.coverage").fetchone()
    touchpoints = int(found[0]) if found else 0
    return [
        f"purpose {purpose}: permits and denials are not the {touchpoints} touchpoints"
        for purpose, entry in summary["decisions"].items()
        if entry["permit"] + sum(entry["deny"].values()) != touchpoints
    ]


def _wrong_exports(con: duckdb.DuckDBPyConnection, summary: Summary) -> list[str]:
    considered = {
        (segment, destination): people
        for segment, destination, people in con.execute(
            "select segment, destination, count(*) from intermediate.int_activations_decided group by all"
        ).fetchall()
    }
    return [
        f"export {e['segment']} to {e['destination']}: rows and withheld are not everyone in the segment"
        for e in summary["exports"]
        if e["rows"] + sum(e["withheld"].values()) != considered.get((e["segment"], e["destination"]), 0)
        or considered.get((e["segment"], e["destination"]), 0) != summary["segments"][e["segment"]]["people"]
    ]


def folder(home: Home, generation: str) -> Path:
    """Where the evidence of a generation lies."""
    return home.evidence / generation


def save(home: Home, summary: Summary) -> Path:
    """Writes evidence/<generation>/summary.json."""
    place = folder(home, summary["generation"])
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(place / "summary.json", summary)
    return place / "summary.json"


def load(home: Home, generation: str) -> Summary:
    """The saved summary of a generation. Raises VerifyError where there is none."""
    path = folder(home, generation) / "summary.json"
    if not path.is_file():
        raise VerifyError("this generation has no summary", where=generation, remedy="Run `assent run`")
    summary: Summary = json.loads(path.read_bytes())
    return summary
