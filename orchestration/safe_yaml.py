"""Reads and writes YAML by libyaml, ten times as fast as PyYAML's own code, which is used where its wheel lacks it.

Not here: what a policy file may hold (`policy/loader.py`)."""

from __future__ import annotations

from typing import Any

import yaml

try:
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeDumper, SafeLoader  # type: ignore[assignment]

__all__ = ["SafeLoader", "dump", "load"]


def load(content: str | bytes) -> Any:
    """Of our own files. Raises yaml.YAMLError."""
    return yaml.load(content, Loader=SafeLoader)  # safe as the name says: plain values only


def dump(document: Any) -> str:
    """In the order given."""
    return yaml.dump(document, Dumper=SafeDumper, sort_keys=False, allow_unicode=True, width=140)
