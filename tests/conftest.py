"""Fixtures that tests of every tier may ask for."""

from __future__ import annotations

from tests.ledger_places import opened, place
from tests.postgres import postgres_server, postgres_url

__all__ = ["opened", "place", "postgres_server", "postgres_url"]
