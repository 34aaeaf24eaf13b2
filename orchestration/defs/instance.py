"""The Dagster instance of a home: its settings file, and how a command gets hold of it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from orchestration.atomic import write_bytes
from orchestration.home import Home

TEMPLATE = Path(__file__).with_name("dagster.yaml")


def prepare_instance(home: Home) -> Path:
    """The folder for DAGSTER_HOME, with a dagster.yaml in it; one that is there already is kept."""
    settings = home.dagster / "dagster.yaml"
    if not settings.exists():
        write_bytes(settings, TEMPLATE.read_bytes())
    return home.dagster


def open_instance(home: Home) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(prepare_instance(home)))
