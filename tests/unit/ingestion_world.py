"""A small source, its policy and a home, for the tests of ingestion."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.ingest import ingest_source
from orchestration.ingestion.lake import lake_files, manifests, quarantine_path
from orchestration.ingestion.quarantine import read_quarantine
from orchestration.ingestion.reports import SourceReport
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Minimisation, Policy, Source, Sources

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
LABEL = {"zh-CN": "源", "en": "Source"}
FIELDS = [
    {"name": "id", "max_length": 64},
    {"name": "event", "required": True, "max_length": 64},
    {"name": "at", "required": True, "max_length": 40},
    {"name": "phone", "max_length": 32},
    {"name": "account", "max_length": 64},
    {"name": "note", "max_length": 2000},
    {"name": "amount", "type": "number", "minimum": 0, "maximum": 1000},
    {"name": "secret", "max_length": 2000},
]
VERBS = {"id": "token", "phone": "token", "account": "token", "secret": "drop"}


def make_source(feed: dict[str, Any], **changes: Any) -> Source:
    names = [str(field["name"]) for field in FIELDS]
    return Source.model_validate(
        {
            "name": "shop_src",
            "label": LABEL,
            "controller": "shop",
            "owner": "o@example.com",
            "provenance": "a test",
            "lawful_basis": "a test",
            "event_id": "id",
            "event": "event",
            "occurred_at": {"field": "at", "format": "iso8601"},
            "link_method": "login",
            "fields": FIELDS,
            "identifiers": [
                {"field": "account", "kind": "account", "issuer": "shop"},
                {"field": "phone", "kind": "phone", "issuer": "e164"},
            ],
            "events": [{"raw": "view", "event": "view", "category": "behaviour"}],
            "feeds": [{"name": "main", "columns": {name: name for name in names}, **feed}],
            **changes,
        }
    )


def policy_with(source: Source, verbs: dict[str, str] | None = None) -> Policy:
    chosen = {**VERBS, **(verbs or {})}
    rules = [
        {"field": field.name, "category": "behaviour", "verb": chosen.get(field.name, "keep")}
        for field in source.fields
    ]
    return load_policy().model_copy(
        update={
            "sources": Sources(sources=(source,), consent_feeds=()),
            "minimisation": Minimisation.model_validate({"sources": [{"source": source.name, "fields": rules}]}),
        }
    )


@dataclass
class World:
    """One home with one source; `landing` lies in the home."""

    home: Home
    keys: Keys
    source: Source
    policy: Policy

    @classmethod
    def make(cls, root: Path, feed: dict[str, Any], **changes: Any) -> World:
        source = make_source(feed, **changes)
        home = Home.open(root / "home")
        return cls(home, Keys.open(home), source, policy_with(source))

    @property
    def landing(self) -> Path:
        return self.home.landing

    def put(self, name: str, content: bytes | str | Iterable[dict[str, Any]]) -> Path:
        if not isinstance(content, (bytes, str)):
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        path = self.landing / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def ingest(self, landing: Path | None = None, now: datetime = NOW) -> SourceReport:
        return ingest_source(
            self.home, self.policy, self.keys, self.source, landing or self.landing, now=now, as_of=now
        )

    def lake(self, columns: str = "*") -> list[tuple[Any, ...]]:
        files = [str(path) for path in lake_files(self.home, self.source.name)]
        if not files:
            return []
        return duckdb.execute(f"SELECT {columns} FROM read_parquet(?) ORDER BY ALL", [files]).fetchall()

    def quarantined(self) -> list[tuple[int, str, str | None]]:
        return [
            row
            for manifest in manifests(self.home, self.source.name)
            if manifest.quarantined
            for row in read_quarantine(self.keys, quarantine_path(self.home, self.source.name, manifest.batch))
        ]

    def bytes_at_rest(self) -> bytes:
        """Every byte under the home but landing, Parquet pages unpacked."""
        found = []
        for path in sorted(self.home.root.rglob("*")):
            if path.is_file() and self.landing not in path.parents:
                found.append(path.read_bytes())
                if path.suffix == ".parquet":
                    found.append(str(duckdb.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()).encode())
        return b"\n".join(found)


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A good row of the source."""
    return {
        "id": f"e{number}",
        "event": "view",
        "at": f"2026-01-01T10:{number % 60:02d}:00+08:00",
        "account": f"a{number}",
        **changes,
    }
