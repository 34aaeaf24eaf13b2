"""What a segment's columns may tell, and by which fields its people may be chosen: what its purpose allows, and nothing
that identifies. Not here: who may be in it (`segments.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestration.policy.schema import Purpose, Segment
from orchestration.proof.analysis import MARTS, Analysis
from orchestration.proof.atoms import is_touchpoint
from orchestration.proof.domain import Column
from orchestration.proof.obligations import Obligation
from orchestration.proof.sources import is_personal
from orchestration.proof.verdict import Failure
from orchestration.warehouse.project_files import SEGMENT_COLUMNS

# What every touchpoint has, whatever its source: its scope's category covers them.
_FRAME = frozenset({"source", "feed", "controller", "occurred_at", "business_day", "raw_event", "subject_kind"})


@dataclass(frozen=True)
class Told:
    """What one segment's mart tells, by its columns and by who is in it."""

    name: str
    segment: Segment
    purpose: Purpose
    analysis: Analysis

    def obligations(self) -> Iterator[Obligation]:
        yield from self._columns()
        yield from self._fields_that_choose()

    def _columns(self) -> Iterator[Obligation]:
        shown = set(self.analysis.told[self.name].columns)
        declared = {*SEGMENT_COLUMNS, *(column.name for column in self.segment.columns)}
        for column in sorted(shown | declared):
            what = f"column {column} is declared and allowed"
            if column not in shown or column not in declared:
                there = (
                    "is shown, and segments.yaml does not declare it"
                    if column in shown
                    else "is declared, and not there"
                )
                remedy = "Declare it under `columns:` of the segment in segments.yaml, or remove it"
                yield Obligation(what, Failure(f"{self.name}.{column} {there}", (self.name,), remedy))
                continue
            told = sorted(self.analysis.values(self.name, column), key=lambda c: (not self.analysis.identifies(c), c))
            failure = next((f for one in told if (f := self._forbidden(column, one)) is not None), None)
            yield Obligation(what, failure)

    def _forbidden(self, column: str, origin: Column) -> Failure | None:
        """Why a column may not tell of one that it comes from."""
        source = f"{origin.relation}.{origin.name}"
        path = (source, f"{self.name}.{column} tells it")
        rule = self.analysis.fields.get(origin)
        if origin.relation in self.analysis.reviewed or not is_personal(origin.relation):
            return None  # looked at above
        if origin.relation.startswith(f"{MARTS}."):
            return None  # of the same purpose, or refused above
        if rule is None and is_touchpoint(origin.relation) and origin.name in _FRAME:
            return None
        if rule is None or self.analysis.identifies(origin):
            said = f"{self.name}.{column} tells {source}, by which a person can be known across purposes"
            return Failure(
                said, path, "Show the audience_key, which segment_members() gives, and nothing that identifies"
            )
        if rule.category not in self.purpose.categories:
            said = (
                f"{self.name}.{column} tells {source}, of category {rule.category}, which purpose {self.purpose.name}"
            )
            return Failure(f"{said} may not use", path, f"Use fields of: {', '.join(self.purpose.categories)}")
        declared = {one.name: one.category for one in self.segment.columns}.get(column)
        if declared is None:
            said = f"{self.name}.{column} tells {source}, and is to tell of the person's consent only"
            remedy = f"Show it as a column of its own: `columns:` in segments.yaml, `shows:` of {self.purpose.name}"
            return Failure(said, path, remedy)
        if rule.category == "sensitive" and declared != "sensitive":
            said = f"{self.name}.{column} tells {source}, which is sensitive, and is declared {declared}"
            return Failure(said, path, "Declare the column `category: sensitive`, or do not use the field")
        return None

    def _fields_that_choose(self) -> Iterator[Obligation]:
        """Fields by which people are chosen are used as much as those that are shown."""
        for origin in sorted(self.analysis.choosing(self.name)):
            rule = self.analysis.fields.get(origin)
            if rule is None or rule.category == "identification":
                continue  # the frame; a token chosen by is refused by its atoms
            what = f"people are chosen by {origin.name} of {origin.relation}, which {self.purpose.name} may use"
            if rule.category in self.purpose.categories:
                yield Obligation(what)
                continue
            source = f"{origin.relation}.{origin.name}"
            said = f"people of {self.name} are chosen by {source}, of category {rule.category}, which purpose"
            said += f" {self.purpose.name} may not use"
            remedy = f"Choose by fields of: {', '.join(self.purpose.categories)}"
            yield Obligation(what, Failure(said, (source, f"{self.name} filters, joins or groups by it"), remedy))
