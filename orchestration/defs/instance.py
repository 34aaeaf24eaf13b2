"""The Dagster instance of a home: its settings file, and how a command gets hold of it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from orchestration import safe_yaml
from orchestration.atomic import write_bytes
from orchestration.home import Home

TEMPLATE = Path(__file__).with_name("dagster.yaml")
STORAGES = {"storage", "run_storage", "event_log_storage", "schedule_storage", "instance_class"}


def prepare_instance(home: Home) -> Path:
    """The folder for DAGSTER_HOME, with a dagster.yaml in it; one that is there already is kept."""
    settings = home.dagster / "dagster.yaml"
    if not settings.exists():
        write_bytes(settings, TEMPLATE.read_bytes())
    return home.dagster


def open_instance(home: Home) -> dg.DagsterInstance:
    """The instance for a run in this process. A storage that its dagster.yaml names is used as it is."""
    folder = prepare_instance(home)
    named = safe_yaml.load((folder / "dagster.yaml").read_bytes()) or {}
    if STORAGES & set(named):
        return dg.DagsterInstance.from_config(str(folder))
    log = {
        "module": "orchestration.defs.event_log",
        "class": "HeldEventLog",
        "config": {"base_dir": str(folder / "history" / "runs")},
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides={"event_log_storage": log}))
