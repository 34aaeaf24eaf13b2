"""The command `assent demo`: makes the demo world in a home of its own."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from orchestration.atomic import write_json
from orchestration.demo.clock import RECORD
from orchestration.demo.world import WorldReport, make_world
from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.settings import load_settings

DEFAULTS = {"seed": 7, "people": 2000, "days": 60}


@click.command("demo")
@click.option("--home", "root", type=click.Path(path_type=Path), help="The demo's home (default: ASSENT_HOME).")
@click.option("--landing", type=click.Path(path_type=Path), help="Write the files here instead, without any home.")
@click.option("--people", type=click.IntRange(min=1), help="How many people (default: 2000).")
@click.option("--days", type=click.IntRange(min=1), help="How many days (default: 60).")
@click.option("--seed", type=click.IntRange(min=0), help="Another seed gives another world (default: 7).")
@click.option("--as-of", "as_of", help="The world ends here, ISO 8601 with offset (default: the last midnight).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def demo(root: Path | None, landing: Path | None, as_of: str | None, as_json: bool, **sizes: int | None) -> None:
    """Make the demo world: four sources in their raw shapes and a consent history, the same for the same seed.

    What is not given is taken from the world that the home already holds, so that doing it again changes nothing."""
    if landing is not None and root is not None:
        raise click.UsageError("--landing writes files without a home; give it or --home, not both")
    given: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    if as_of is not None:
        given["as_of"] = parse_as_of(as_of).isoformat()
    if landing is not None:
        chosen = _chosen(given, {})
        report = _make(landing, chosen)
    else:
        landing, chosen, report = _make_in_home(root or load_settings().home, given)
    found = {"landing": str(landing), "as_of": chosen["as_of"], "seed": chosen["seed"], **asdict(report)}
    click.echo(json.dumps(found, ensure_ascii=False) if as_json else _sentence(found))


def _make_in_home(root: Path, given: dict[str, Any]) -> tuple[Path, dict[str, Any], WorldReport]:
    path = root / RECORD
    recorded: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    chosen = _chosen(given, recorded)
    if recorded and recorded != chosen:
        raise HomeError("this home holds another demo world", where=str(root), remedy="Use another --home for this one")
    home = Home.open(root, demo_seed=chosen["seed"])
    with home.lock():
        Keys.open(home)  # from the seed; home.json remembers their check value
        write_json(path, chosen)
        return home.landing, chosen, _make(home.landing, chosen)


def _chosen(given: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """What is given, else what the home holds, else the defaults. The clock is read here and nowhere else."""
    midnight = last_midnight(datetime.now(UTC), load_policy().organisation.zone).isoformat()
    return {**DEFAULTS, "as_of": midnight, **recorded, **given}


def _make(landing: Path, chosen: dict[str, Any]) -> WorldReport:
    sizes = {name: chosen[name] for name in DEFAULTS}
    return make_world(landing, load_policy(), **sizes, as_of=datetime.fromisoformat(chosen["as_of"]))


def last_midnight(now: datetime, zone: str) -> datetime:
    """The latest midnight of `zone` that is not after `now`."""
    local = now.astimezone(ZoneInfo(zone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def parse_as_of(text: str) -> datetime:
    """An aware instant. Raises AssentError where the text is none, or says no offset."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise AssentError("this is no instant", where="--as-of", remedy="Write it like 2026-11-22T00:00:00+08:00")
    return instant.astimezone(UTC)


def _sentence(found: dict[str, Any]) -> str:
    return (
        f"Made {found['people']} people, {found['visitors']} visitors and {found['personas']} personas over "
        f"{found['days']} days until {found['as_of']}: {sum(found['touchpoints'].values())} touchpoints and "
        f"{found['consent_records']} consent records in {found['files']} files under {found['landing']}"
    )
