"""`assent status` and `assent segments`: what the published generation says. Reads only."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from orchestration.errors import AssentError
from orchestration.evidence.shown import Shown
from orchestration.home import Home
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from orchestration.settings import Settings, load_settings

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


@click.command()
@AS_JSON
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """What is published, and what it says about itself."""
    from orchestration.evidence import counts
    from orchestration.exports.deliveries import outstanding

    _, home, policy = _opened(context)
    pointer, shown = _published(home), Shown.of(policy)
    summary = counts.load(home, pointer["generation"])
    answer = {
        **pointer,
        "content_hash": summary["content_hash"],
        "checks": summary["checks"],
        "exports": [shown.export(export) for export in summary["exports"]],
        "delivered": [{**one, "people": shown.tell(one["people"])} for one in outstanding(home)],
        "counts": shown.rule(),
        "report": str(counts.folder(home, pointer["generation"]) / "report.html"),
    }
    if as_json:
        _print_json(answer)
        return
    for name in ("generation", "as_of", "published_at", "policy_hash", "ledger_head", "report"):
        click.echo(f"{name:<14}{answer[name]}")
    checks = summary["checks"]
    click.echo(f"{'checks':<14}{checks['passed']} passed, {checks['failed']} failed")
    for export in summary["exports"]:
        click.echo(f"{'export':<14}{export['segment']} → {export['destination']}: {_export_line(export, shown)}")
    _note(shown)


@click.command()
@AS_JSON
@click.pass_context
def segments(context: click.Context, as_json: bool) -> None:
    """People per segment, and who is kept back where, by reason. Counts are told as policy's `shown_counts` says; in
    JSON, null is a count that is not told."""
    from orchestration.evidence import counts
    from orchestration.evidence.queries import note_query

    _, home, policy = _opened(context)
    shown = Shown.of(policy)
    note_query(home, "segments", [_published(home)["generation"]], now=datetime.now(UTC))
    summary = counts.load(home, _published(home)["generation"])
    answer: list[dict[str, Any]] = [
        {
            "segment": segment.name,
            "label": segment.label.model_dump(by_alias=True),
            "purpose": segment.purpose,
            "owner": segment.owner,
            "people": shown.tell(summary["segments"].get(segment.name, {}).get("people", 0)),
            "exports": [shown.export(export) for export in summary["exports"] if export["segment"] == segment.name],
        }
        for segment in policy.segments.segments
    ]
    if as_json:
        _print_json(answer)
        return
    for entry in answer:
        people = shown.written(entry["people"])
        click.echo(f"{entry['segment']:<28}{people:>9}  {entry['label']['en']} / {entry['label']['zh-CN']}")
        for export in entry["exports"]:
            click.echo(f"  → {export['destination']:<24}{_told_line(export, shown)}")
    _note(shown)


def _opened(context: click.Context) -> tuple[Settings, Home, Policy]:
    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    return settings, Home.open(settings.home, create=False), load_policy(settings.policy_dir)


def _published(home: Home) -> dict[str, Any]:
    from orchestration.warehouse.publish import published

    found = published(home)
    if found is None:
        raise AssentError("nothing is published", where=str(home.root), remedy="Run `assent run` first")
    return found.model_dump(mode="json")


def _export_line(export: dict[str, Any], shown: Shown) -> str:
    return _told_line(shown.export(export), shown)


def _told_line(export: dict[str, Any], shown: Shown) -> str:
    withheld = ", ".join(f"{reason} {shown.written(people)}" for reason, people in export["withheld"].items())
    return f"{export['status']} {shown.written(export['rows'])}" + (f"; kept back: {withheld}" if withheld else "")


def _note(shown: Shown) -> None:
    if shown.note:
        click.echo(f"\n{shown.note}")


def _print_json(content: Any) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))
