"""Renders one self-contained HTML page per generation, in Chinese and English, from its file and its summary.

The page loads nothing, runs nothing, holds counts and hashes only; every value is escaped. Not here: the counting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestration.atomic import write_bytes, write_json
from orchestration.evidence import counts, waterfall
from orchestration.evidence.labels import Labels, Text
from orchestration.evidence.shown import Shown
from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.retention.record import last_purges
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.duckdb_settings import connect

HERE = Path(__file__).parent
COLOURS = 6  # classes s1…s6 of report.css; s0 is a permit
MOST_PURGES = 5
MOST_REASONS = 12  # of a stacked bar; the table below it has them all


def save_checks(home: Home, generation: str, checks: Sequence[CheckResult]) -> None:
    """Keeps what was checked beside the summary: stage, name, verdict, severity and counts."""
    place = counts.folder(home, generation)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(place / "checks.json", [asdict(check) for check in checks])


def write_report(home: Home, policy: Policy, generation: str) -> Path:
    """Writes evidence/<generation>/report.html and returns its path."""
    summary = counts.load(home, generation)
    con = connect(home, counts.generation_file(home, generation), read_only=True)
    try:
        facts = gather(con, policy, summary, load_checks(home, generation))
        facts["purges"] = last_purges(home, MOST_PURGES)  # before this run's own, which comes after its report
    finally:
        con.close()
    path = counts.folder(home, generation) / "report.html"
    write_bytes(path, render(policy, facts).encode())
    return path


def load_checks(home: Home, generation: str) -> list[dict[str, Any]]:
    path = counts.folder(home, generation) / "checks.json"
    checks: list[dict[str, Any]] = json.loads(path.read_bytes()) if path.is_file() else []
    return checks


def gather(
    con: duckdb.DuckDBPyConnection, policy: Policy, summary: dict[str, Any], checks: list[dict[str, Any]]
) -> dict[str, Any]:
    """Everything the page shows."""
    falls = _rows(con, "select * from governance.segment_waterfalls order by segment, step_order, people desc")
    coverage = _rows(con, "select * from governance.coverage order by source, controller")
    return {
        "summary": summary,
        "checks": checks,
        "sources": _sources(summary, coverage),
        "totals": _totals(summary, coverage),
        "decisions": _decisions(con, summary),
        "waterfalls": [
            waterfall.build(
                segment.name,
                segment.purpose,
                [row for row in falls if row["segment"] == segment.name],
                [export for export in summary["exports"] if export["segment"] == segment.name],
                Shown.of(policy),
            )
            for segment in policy.segments.segments
        ],
        "deletions": _rows(
            con,
            "select source, category, min(business_day) as oldest, sum(rows_due)::bigint as rows_due "
            "from governance.deletions_due where held_by is null and due_on <= (select as_of from meta.builds)::date "
            "group by all order by rows_due desc, source, category",
        ),
    }


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = con.execute(sql).to_arrow_table().to_pylist()
    return rows


def _sources(summary: dict[str, Any], coverage: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = ("touchpoints", "with_person", "permitted_any")
    sums = {
        source: {key: sum(row[key] for row in coverage if row["source"] == source) for key in keys}
        for source in summary["sources"]
    }
    return [{"name": name, **numbers, **sums[name]} for name, numbers in summary["sources"].items()]


def _totals(summary: dict[str, Any], coverage: list[dict[str, Any]]) -> dict[str, int]:
    sources = summary["sources"].values()
    totals = {
        key: sum(s[key] for s in sources) for key in ("read", "accepted", "duplicates", "quarantined", "refused_files")
    }
    totals |= {key: sum(row[key] for row in coverage) for key in ("touchpoints", "with_person", "permitted_any")}
    totals["exported"] = sum(export["rows"] for export in summary["exports"])
    totals["removals"] = sum(export["removals"] for export in summary["exports"])
    totals["withheld_files"] = sum(export["status"] == "withheld" for export in summary["exports"])
    return totals


def _decisions(con: duckdb.DuckDBPyConnection, summary: dict[str, Any]) -> list[dict[str, Any]]:
    rows = _rows(con, "select reason, reason_order from policy.reasons")
    order = {row["reason"]: row["reason_order"] for row in rows}
    colours = _colours(summary)
    found = []
    for purpose, entry in summary["decisions"].items():
        denied = sorted(entry["deny"].items(), key=lambda item: (-item[1], order.get(item[0], 0)))
        shown = [(reason, number, colours[reason]) for reason, number in denied[:MOST_REASONS]]
        rest = sum(number for _, number in denied[MOST_REASONS:])
        total = entry["permit"] + sum(entry["deny"].values())
        found.append({"purpose": purpose, "permit": entry["permit"], "total": total, "denied": shown, "rest": rest})
    return found


def _colours(summary: dict[str, Any]) -> dict[str, int]:
    """A reason has one colour on the whole page: the most frequent get their own, the rest share the last."""
    totals: Counter[str] = Counter()
    for entry in summary["decisions"].values():
        totals.update(entry["deny"])
    return {reason: min(rank, COLOURS) for rank, (reason, _) in enumerate(totals.most_common(), start=1)}


def render(policy: Policy, facts: dict[str, Any]) -> str:
    """The page as text. Autoescape is on for everything; the style sheet is the only part put in as it is."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    labels = Labels(policy)
    zone = ZoneInfo(policy.organisation.zone)
    shown = Shown.of(policy)
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["people"] = shown.write  # of counts as they are
    environment.filters["told"] = shown.written
    environment.filters["share"] = _share
    environment.filters["local"] = lambda value: _local(value, zone)
    environment.filters["both"] = _both
    environment.globals["label"] = lambda code, kind="": _both(labels(code, kind))
    template = environment.get_template("report.html.j2")
    return template.render(
        policy=policy,
        shown=shown,
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        destinations={d.name: d for d in policy.destinations.destinations},
        segments={s.name: s for s in policy.segments.segments},
        **facts,
    )


def _both(text: Text) -> Markup:
    """Both languages; the style sheet shows the one that was chosen."""
    return Markup('<span class="zh" lang="zh-CN">{}</span><span class="en" lang="en">{}</span>').format(
        text.zh, text.en
    )


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.1f}%" if 0.05 <= share <= 99.95 or part in (0, whole) else ("<0.1%" if share < 1 else ">99.9%")


def _local(value: str | datetime, zone: ZoneInfo) -> str:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")
