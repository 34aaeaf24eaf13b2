"""`assent policy`: check a policy folder, publish its JSON Schema, show what is in force."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from orchestration.atomic import write_json
from orchestration.errors import AssentError, ExitCode
from orchestration.policy.jsonschema import json_schemas
from orchestration.policy.loader import canonical, load_policy, policy_hash, read_policy, scopes
from orchestration.policy.schema import Policy
from orchestration.settings import load_settings

FOLDER = click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


@click.group()
def policy() -> None:
    """The rules: check them, show them."""


@policy.command()
@FOLDER
@AS_JSON
@click.pass_context
def check(context: click.Context, folder: Path | None, as_json: bool) -> None:
    """Print every error of the policy in DIR with file, line and remedy. Exit code 4 if there is any."""
    folder = _folder(folder)
    found, _, problems = read_policy(folder)
    digest = None if found is None else policy_hash(found, folder)
    if as_json:
        _print_json({"policy_hash": digest, "problems": [asdict(problem) for problem in problems]})
    elif found is not None:
        click.echo(f"The policy is good: {folder} ({digest})")
    for problem in () if as_json else problems:
        click.echo(str(problem), err=True)
    context.exit(ExitCode.OK if found is not None else ExitCode.POLICY)


@policy.command("schema")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write one <file>.schema.json per policy file into this folder."
)
@AS_JSON
def schema_(out: Path | None, as_json: bool) -> None:
    """Print the JSON Schema of every policy file, or write them for an editor."""
    schemas = json_schemas()
    if out is None:
        _print_json(schemas)
        return
    failed = ""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in schemas.items():
            write_json(out / f"{Path(name).stem}.schema.json", content, mode=0o644)
    except OSError as error:
        failed = error.strerror or "cannot write"
    if failed:
        raise AssentError(failed, where=str(out), remedy="Choose another --out")
    written = [f"{Path(name).stem}.schema.json" for name in schemas]
    if as_json:
        _print_json({"folder": str(out), "files": written})
    else:
        click.echo(f"{len(written)} files written to {out}")


@policy.command()
@FOLDER
@AS_JSON
def show(folder: Path | None, as_json: bool) -> None:
    """Show the policy in force: purposes, sources, segments, destinations, notices with hashes, scopes."""
    folder = _folder(folder)
    loaded = load_policy(folder)
    digest = policy_hash(loaded, folder)
    if as_json:
        _print_json(
            {"policy_hash": digest, "scopes": [s.model_dump() for s in scopes(loaded)], **json.loads(canonical(loaded))}
        )
        return
    click.echo(f"{folder}  {digest}")
    for title, lines in _summary(loaded).items():
        click.echo(f"\n{title}")
        for line in lines:
            click.echo(f"  {line}")


def _summary(loaded: Policy) -> dict[str, list[str]]:
    return {
        "purposes": [f"{p.name}: {p.label.en} / {p.label.zh} ({p.recipient})" for p in loaded.purposes.purposes],
        "sources": [f"{s.name}: {s.label.en} / {s.label.zh}, {len(s.feeds)} feed(s)" for s in loaded.sources.sources],
        "segments": [f"{s.name}: {s.label.en} / {s.label.zh} → {s.purpose}" for s in loaded.segments.segments],
        "destinations": [
            f"{d.name}: {d.label.en} / {d.label.zh}, {d.channel}" for d in loaded.destinations.destinations
        ],
        "notices": [
            f"{notice.id} {version.version}: {language}, sha256 {digest}"
            for notice in loaded.notices.notices
            for version in notice.versions
            for language, digest in version.hashes.items()
        ],
        "scopes": [f"{s.bit}: {s.controller}, {s.purpose}, {s.category}, {s.recipient}" for s in scopes(loaded)],
    }


def _folder(folder: Path | None) -> Path:
    return load_settings().policy_dir if folder is None else folder


def _print_json(content: Any) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True))
