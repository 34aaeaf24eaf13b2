"""Rotates the keys that seal (faults D8, A10). The key that names people stays: another would name everyone anew."""

from __future__ import annotations

from orchestration.atomic import write_bytes
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry


def rotate_keys(home: Home) -> tuple[Keys, int]:
    """Adds a master key and seals the keys of people with it; returns the keys and how many people have one. Killed
    anywhere, everything still opens. Hold the home's lock."""
    if home.info.kind == "demo":
        raise HomeError("a demo's keys come from its seed", where=str(home.root), remedy="There is nothing to rotate")
    write_bytes(home.master_key, Keys.open(home).rotated().text.encode())
    keys = Keys.open(home)  # notes the new check value in the home
    with SubjectRegistry(home, keys) as registry:
        return keys, registry.rewrap()
