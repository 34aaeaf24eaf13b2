"""What the policy says of the ends of lineage: for which purpose a relation is, to whom a file goes, and what the rule
of a field is. Not here: the walk (`graph.py`), and how it is told (`text.py`, `page.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestration.policy.schema import Destination, FieldRule, MartColumn, Policy, Segment
from orchestration.policy.vocabulary import vocabulary
from orchestration.proof.lineage.edges import Column, Edge
from orchestration.proof.lineage.graph import SHOWN
from orchestration.proof.lineage.origins import EXPORTS, FEEDS, LANDING, delivered, export_name
from orchestration.warehouse.declared import ACCOUNTABILITY

Kind = Literal[
    "field", "consent", "policy", "build", "key", "log", "made", "kept", "stored", "model", "segment", "governance",
    "file",
]  # fmt: skip
KINDS: dict[str, Kind] = {
    LANDING: "field", FEEDS: "consent", "policy": "policy", "meta": "build", "keys": "key", "evidence": "log",
    "archive": "kept", "quarantine": "kept", "vault": "kept", "lake": "stored", "ledger": "stored",
    "identity": "stored", "activity": "stored", "marts": "segment", "governance": "governance", EXPORTS: "file",
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What minimisation.yaml says of a field; `verb` is `drop` too where it has no line for it (R-60)."""

    category: str | None
    verb: str
    stage: str | None = None


class Facts:
    """Looks up what one policy says."""

    def __init__(self, policy: Policy) -> None:
        self._segments = {f"marts.{segment.name}": segment for segment in policy.segments.segments}
        self._files = {export_name(segment, place): (segment, place) for segment, place in delivered(policy)}
        self._rules = {
            Column(f"{LANDING}.{of.source}", rule.field): rule
            for of in policy.minimisation.sources
            for rule in of.fields
        }
        self._shown = {word.name: word.category for word in vocabulary().shown_columns}

    def kind(self, column: Column, *, is_origin: bool = False) -> Kind:
        """What a column is. One of the lake and the like that nothing fills is made there: a constant or a clock."""
        kind = KINDS.get(column.relation.partition(".")[0], "model")
        return "made" if is_origin and kind == "stored" else kind

    def purposes(self, relation: str) -> tuple[str, ...]:
        """For what it is there; nothing for what nobody is shown."""
        segment = self.segment(relation)
        if segment is not None:
            return (segment.purpose,)
        return (ACCOUNTABILITY,) if relation.startswith("governance.") else ()

    def segment(self, relation: str) -> Segment | None:
        return self._segments.get(relation) or (self._files[relation][0] if relation in self._files else None)

    def destination(self, relation: str) -> Destination | None:
        return self._files[relation][1] if relation in self._files else None

    def rule(self, column: Column) -> Rule | None:
        """Of a source's field; None for every other column."""
        if not column.relation.startswith(f"{LANDING}."):
            return None
        rule = self._rules.get(column)
        return Rule(None, "drop") if rule is None else Rule(rule.category, _verb(rule), rule.stage)

    def category(self, column: Column) -> str | None:
        """The category of data that a field, or a column that somebody is shown, tells of."""
        rule = self.rule(column)
        if rule is not None:
            return rule.category
        own = self.own_column(column)
        return own.category if own is not None else self._shown.get(column.name)

    def must_be_gated(self, path: Sequence[Edge]) -> bool:
        """Whether a way must pass a gate: of what touchpoints tell of people to what is shown. Identifiers go as
        tokens, or by the vault; consent is what a gate asks."""
        if not path or path[-1].target.relation.partition(".")[0] not in SHOWN:
            return False
        return self.kind(path[0].source) == "field" and self.category(path[0].source) != "identification"

    def own_column(self, column: Column) -> MartColumn | None:
        """A column that a segment declares beside those of every segment."""
        segment = self.segment(column.relation)
        return next((own for own in segment.columns if own.name == column.name), None) if segment is not None else None

    def verbs(self, path: Sequence[Edge]) -> tuple[str, ...]:
        """What is done on a way, each once, but for handing on; a bucket with its size, as the policy names it."""
        rule = self.rule(path[0].source) if path else None
        done = [edge.how for edge in path if edge.how not in ("copy", "rows")]
        return tuple(dict.fromkeys(rule.verb if rule is not None and how == "bucket" else how for how in done))


def _verb(rule: FieldRule) -> str:
    return rule.verb if rule.bucket is None else f"{rule.verb} {rule.bucket}"
