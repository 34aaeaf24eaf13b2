"""The types of reclassifications.yaml: what may leave a proof's ground though no gate stands before it, and why."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from orchestration.policy.types import Strict, Text

RelationName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Reclassification(Strict):
    """A relation that reads what no purpose permits, and that people have reviewed all the same.

    `aggregate`: it tells codes and counts, and nobody's row. `denial_only`: it may only keep people out, and is read by
    a join on its `key` with a person whom a permitted touchpoint brought. `delivery`: members of a segment, each with a
    reason to withhold."""

    relation: RelationName
    kind: Literal["aggregate", "denial_only", "delivery"]
    key: RelationName | None = None  # denial_only: the column that says whose its rows are
    of: tuple[Literal["segment", "purpose", "stage"], ...] = ()  # columns that must be held to the reader's own
    requires: tuple[RelationName, ...] = ()  # columns that must be true
    needed: Literal["always", "absent", "excludes", "stages"] | None = None  # segments that may not do without it
    shows: tuple[RelationName, ...] = ()  # columns whose own values may be shown
    reason: Text
    reviewed_by: Text
    expires: date

    @model_validator(mode="after")
    def _key_of_denials_only(self) -> Self:
        is_denial = self.kind == "denial_only"
        if is_denial != (self.key is not None):
            raise ValueError("`key:` is for denial_only: the column that says whose its rows are")
        if not is_denial and (self.of or self.needed or self.requires):
            raise ValueError("`of:`, `requires:` and `needed:` belong to denial_only")
        return self


class Reclassifications(Strict):
    """Flows past the gate that were reviewed: each with its reason and the day on which it must be reviewed again."""

    reclassifications: tuple[Reclassification, ...] = ()
