"""Finds the SQL models that a policy asks for: one staging model per source, one model per segment.

The policy folder's own `models/` comes first, then what is shipped in `dbt_project/models`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import AssentError, ExitCode
from orchestration.policy.schema import Policy, Segment, Source
from orchestration.warehouse.code_hash import DBT_PROJECT

STAGING = Path("models/staging")
MARKETING = Path("models/marts/marketing")
DESCRIPTIVE_COLUMNS = ("item", "store", "account", "city", "tier", "amount", "birth_month")
CANONICAL_COLUMNS = (
    "touchpoint_key", "source", "controller", "subject_token", "occurred_at", "raw_event", *DESCRIPTIVE_COLUMNS
)  # fmt: skip


class ModelMissingError(AssentError):
    """The policy names a model that nobody wrote."""

    exit_code = ExitCode.POLICY


@dataclass(frozen=True)
class Models:
    """Looks models up for one policy folder."""

    policy_dir: Path

    def staging(self, source: Source) -> Path:
        columns = ", ".join(CANONICAL_COLUMNS)
        return self._find(STAGING / f"{staging_name(source)}.sql", "sources.yaml", f"It selects {columns}")

    def segment(self, segment: Segment) -> Path:
        columns = ", ".join(["person_key", *(column.name for column in segment.columns)])
        return self._find(MARKETING / f"{segment.model_name}.sql", "segments.yaml", f"It selects {columns}")

    def beside(self, model: Path, stem: str) -> list[Path]:
        """YAML that belongs to one model only: `_<stem>__*.yml` in its folder (unit tests, say)."""
        return sorted(model.parent.glob(f"_{stem}__*.yml"))

    def _find(self, relative: Path, named_in: str, what_it_selects: str) -> Path:
        for root in (self.policy_dir, DBT_PROJECT):
            if (root / relative).is_file():
                return root / relative
        raise ModelMissingError(
            f"the model {relative.name} is missing",
            where=str(self.policy_dir / named_in),
            remedy=f"Write {self.policy_dir / relative}. {what_it_selects}",
        )


@dataclass(frozen=True)
class PreparedModels(Models):
    """Looks models up in a prepared project, where each has the name by which its policy asks for it."""

    def segment(self, segment: Segment) -> Path:
        return self.policy_dir / MARKETING / f"{segment.name}.sql"

    def staging(self, source: Source) -> Path:
        return self.policy_dir / STAGING / f"{staging_name(source)}.sql"


def staging_name(source: Source) -> str:
    return f"stg_{source.name}__touchpoints"


def segments_in_sql(policy: Policy) -> dict[str, Segment]:
    """Segments by name, in the policy's order."""
    return {segment.name: segment for segment in policy.segments.segments}
