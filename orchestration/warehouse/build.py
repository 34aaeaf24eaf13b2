"""What a generation is made from. Its name is the hash of its inputs: the same inputs are the same generation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestration.atomic import write_json
from orchestration.errors import AssentError
from orchestration.home import Home

NAME_CHARACTERS = 20


@dataclass(frozen=True)
class Build:
    """The inputs of one generation (design §0), and where it is being built."""

    as_of: datetime  # T, aware, UTC
    policy_hash: str
    ledger_head: str
    ledger_seq: int
    lake_hash: str
    activity_hash: str  # deliveries before T: they cap frequency
    keys_id: str
    code_hash: str

    @property
    def generation(self) -> str:
        """The first 20 hex digits of SHA-256 over the inputs."""
        text = json.dumps(self._inputs(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:NAME_CHARACTERS]

    def _inputs(self) -> dict[str, str | int]:
        return {**asdict(self), "as_of": self.as_of.astimezone(UTC).isoformat()}

    def path(self, home: Home) -> Path:
        """The DuckDB file while it is built. Views in it name its stem, so it keeps that for good."""
        return home.building / f"{self.generation}.duckdb"

    def file(self, home: Home) -> Path:
        """The DuckDB file wherever it is by now: in building, published, or kept as evidence."""
        places = (self.path(home), warehouse_file(home, self.generation), evidence_file(home, self.generation))
        for place in places:
            if place.is_file():
                return place
        raise AssentError(f"generation {self.generation} has no file", remedy="Run `assent run`")

    def save(self, home: Home) -> None:
        """Notes this build as the one in progress, so that every later step finds it."""
        write_json(_note(home), {**self._inputs(), "generation": self.generation})

    @classmethod
    def load(cls, home: Home) -> Build:
        """The build in progress. Raises AssentError when there is none, or its note is damaged."""
        try:
            noted = json.loads(_note(home).read_bytes())
            name = noted.pop("generation")
            build = cls(**{**noted, "as_of": datetime.fromisoformat(noted["as_of"])})
            if build.generation == name:
                return build
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise AssentError("no build is in progress", where=str(home.root), remedy="Run `assent run` from the start")


def _note(home: Home) -> Path:
    return home.tmp / "build.json"


def warehouse_file(home: Home, generation: str) -> Path:
    return home.warehouse / f"{generation}.duckdb"


def evidence_file(home: Home, generation: str) -> Path:
    return home.evidence / generation / f"{generation}.duckdb"
