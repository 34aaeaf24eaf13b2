"""The commands `run` and `dev`: the same Dagster definitions, in this process or behind Dagster's own UI."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from orchestration.errors import AssentError, ExitCode
from orchestration.settings import Settings, child_environment

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
HOST = "127.0.0.1"  # Dagster's UI has no users: never an address that others can reach (fault G4)


def instant(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """An ISO-8601 instant with an offset."""
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise click.BadParameter("write an instant with an offset, such as 2026-01-31T00:00:00+08:00")
    return parsed.astimezone(UTC)


def progress() -> Callable[[str], None]:
    """Says each line on stderr, with the seconds since the start."""
    start = time.monotonic()
    return lambda line: click.echo(f"{time.monotonic() - start:6.1f} s  {line}", err=True)


@click.command()
@click.option("--landing", type=click.Path(path_type=Path, file_okay=False), help="Folder of landing files.")
@click.option("--as-of", callback=instant, help="T, for what instant to build. Default: the last midnight.")
@click.option("--rebuild", is_flag=True, help="Build and check again even where nothing has changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_obj
def run(settings: Settings, landing: Path | None, as_of: datetime | None, rebuild: bool, as_json: bool) -> int:
    """Run tonight's build: landing files to lake, ledger, decisions, segments, checks, exports and report.

    A failed or killed build leaves the published generation in force. Where every input is that of the generation in
    force, it is verified byte for byte and not built again. It ends with the purge of what is past its days. Exit code
    3: good, but files were refused; 7: good, but something past its days waits (`assent retention plan`)."""
    from orchestration.defs import notes
    from orchestration.defs.launch import launch_build

    if landing is not None:
        if not landing.is_dir():
            raise AssentError("there is no such folder", where=str(landing), remedy="Name a folder with landing files")
        settings = replace(settings, landing=landing.absolute())
    site = launch_build(settings, as_of=as_of, now=datetime.now(UTC), is_rebuild=rebuild, say=progress())
    summary = built_summary(site.home.evidence, site.home.tmp)
    click.echo(json.dumps(summary, ensure_ascii=False, indent=2) if as_json else told(summary, site.home.root))
    counted = notes.all_counts(site.home)
    if not counted.get("retention", {}).get("is_good"):
        click.echo("retention: not all that is past its days is gone; see `assent retention plan`", err=True)
        return int(ExitCode.RETENTION)
    refused = sum(counts.get("refused_files", 0) for counts in counted.values())
    return int(ExitCode.REFUSED_INPUT if refused else ExitCode.OK)


def built_summary(evidence: Path, tmp: Path) -> dict[str, Any]:
    """The summary that the evidence stage wrote for the build that has just ended."""
    generation = json.loads((tmp / "build.json").read_bytes())["generation"]
    summary: dict[str, Any] = json.loads((evidence / generation / "summary.json").read_bytes())
    return summary


def told(summary: dict[str, Any], root: Path) -> str:
    """The summary as people read it."""
    lines = [f"generation {summary['generation']}  as of {summary['as_of']}", "", "sources"]
    for name, counts in summary["sources"].items():
        lines.append(
            f"  {name:<28}{counts['read']:>9,} read {counts['accepted']:>9,} accepted"
            f" {counts['duplicates']:>6,} duplicates {counts['quarantined']:>6,} quarantined"
            + (f" {counts['dropped_fields']:>6,} fields dropped" if counts.get("dropped_fields") else "")
        )
    lines += ["", "segments"]
    lines += [f"  {name:<28}{counts['people']:>9,} people" for name, counts in summary["segments"].items()]
    lines += ["", "exports"]
    for export in summary["exports"]:
        withheld = ", ".join(f"{people:,} {reason}" for reason, people in (export.get("withheld") or {}).items())
        name = f"{export['segment']} → {export['destination']}"
        lines.append(f"  {name:<44}{export['rows']:>7,} rows" + (f"   withheld: {withheld}" if withheld else ""))
    checks = summary["checks"]
    lines += ["", f"checks: {checks['passed']} passed, {checks['failed']} failed"]
    lines += [f"files:  {root / 'outbox'}", f"report: {root / 'evidence' / summary['generation'] / 'report.html'}"]
    return "\n".join(lines)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
@click.pass_obj
def dev(settings: Settings, port: int) -> None:
    """Open the Dagster UI on 127.0.0.1, with schedule and sensors, for this home and policy."""
    from orchestration.defs.instance import prepare_instance
    from orchestration.defs.site import Site

    site = Site.load(settings)
    beside = Path(sys.executable).with_name("dagster")
    program = str(beside) if beside.exists() else shutil.which("dagster")
    if program is None or not WORKSPACE.exists():
        raise AssentError("dagster or workspace.yaml is not there", remedy="Run `make install` in a clone of Assent")
    places = {
        "DAGSTER_HOME": str(prepare_instance(site.home)),
        "ASSENT_HOME": str(site.home.root),
        "ASSENT_POLICY": str(site.policy_dir.absolute()),
        "ASSENT_LANDING": str(site.landing.absolute()),
    }
    secret = {"ASSENT_LEDGER_URL": settings.ledger_url, "ASSENT_FAILURE_WEBHOOK": settings.failure_webhook}
    places["PYTHONWARNINGS"] = "ignore::FutureWarning"  # Dagster's own advice to use another command of its makers
    environment = child_environment({**places, **{name: value for name, value in secret.items() if value}})
    arguments = ["dagster", "dev", "-h", HOST, "-p", str(port), "-w", str(WORKSPACE)]
    os.execve(program, arguments, environment)
