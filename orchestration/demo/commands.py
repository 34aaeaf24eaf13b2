"""The command `assent demo`: makes the demo world in a home of its own."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from orchestration.demo.world import make_world
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.settings import load_settings


@click.command("demo")
@click.option("--home", "root", type=click.Path(path_type=Path), help="The demo's home (default: ASSENT_HOME).")
@click.option("--landing", type=click.Path(path_type=Path), help="Write the files here instead, without any home.")
@click.option("--people", default=2000, show_default=True, type=click.IntRange(min=1))
@click.option("--days", default=60, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=7, show_default=True, type=click.IntRange(min=0))
@click.option("--as-of", "as_of", help="The world ends here, ISO 8601 with offset (default: the last midnight).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def demo(
    root: Path | None, landing: Path | None, people: int, days: int, seed: int, as_of: str | None, as_json: bool
) -> None:
    """Make the demo world: four sources in their raw shapes and a consent history, the same for the same seed."""
    policy = load_policy()
    until = last_midnight(datetime.now(UTC), policy.organisation.zone) if as_of is None else parse_as_of(as_of)
    if landing is not None and root is not None:
        raise click.UsageError("--landing writes files without a home; give it or --home, not both")
    home = None if landing is not None else _demo_home(root, seed)
    folder = landing if home is None else home.landing
    assert folder is not None
    report = make_world(folder, policy, seed=seed, people=people, days=days, as_of=until)
    found = {"landing": str(folder), "as_of": until.isoformat(), "seed": seed, **asdict(report)}
    click.echo(json.dumps(found, ensure_ascii=False) if as_json else _sentence(found))


def _demo_home(root: Path | None, seed: int) -> Home:
    home = Home.open(root or load_settings().home, demo_seed=seed)
    Keys.open(home)  # from the seed; home.json remembers their check value
    return home


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


def _sentence(found: dict[str, object]) -> str:
    touchpoints = found["touchpoints"]
    assert isinstance(touchpoints, dict)
    return (
        f"Made {found['people']} people, {found['visitors']} visitors and {found['personas']} personas over "
        f"{found['days']} days until {found['as_of']}: {sum(touchpoints.values())} touchpoints and "
        f"{found['consent_records']} consent records in {found['files']} files under {found['landing']}"
    )
