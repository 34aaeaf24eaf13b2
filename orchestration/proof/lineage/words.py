"""What people read on the page of lineage: the policy's labels, and words of its own (`words.yaml`)."""

from __future__ import annotations

import functools
from pathlib import Path

from orchestration import safe_yaml
from orchestration.evidence.labels import Labels, Text
from orchestration.policy.schema import Label, Policy
from orchestration.policy.vocabulary import vocabulary
from orchestration.proof.lineage.edges import Column
from orchestration.proof.lineage.facts import Facts
from orchestration.proof.lineage.origins import FEEDS, LANDING

FILE = Path(__file__).with_name("words.yaml")


class Words:
    """Code → text in both languages. A code without a text is shown as it is."""

    def __init__(self, policy: Policy) -> None:
        self._facts, self._labels, self._own = Facts(policy), Labels(policy), _own_words()
        self._stages = {stage.name: _text(stage.label) for stage in policy.purposes.stages}
        self._feeds = {feed.name: _text(feed.label) for feed in policy.sources.consent_feeds}
        self._shown = {word.name: _text(word.label) for word in vocabulary().shown_columns}

    def label(self, code: str, kind: str = "") -> Text:
        return self._labels(code, kind)

    def verb(self, code: str) -> Text:
        return self._own["verbs"].get(code, Text(code, code))

    def kind(self, code: str) -> Text:
        return self._own["kinds"][code]

    def review(self, code: str) -> Text:
        return self._own["reviews"].get(code, Text(code, code))

    def purpose(self, code: str) -> Text:
        return self._own["purposes"].get(code) or self._labels(code, "purpose")

    def stage(self, code: str) -> Text:
        return self._stages.get(code, Text(code, code))

    def relation(self, relation: str) -> Text:
        """The label of a source, a feed, a segment, a file or a place; else its name."""
        schema, _, name = relation.partition(".")
        segment, destination = self._facts.segment(relation), self._facts.destination(relation)
        if segment is not None and destination is None:
            return _text(segment.label)
        if segment is not None and destination is not None:
            of, to = segment.label, destination.label
            return Text(f"{of.zh} → {to.zh}", f"{of.en} → {to.en}")
        if schema in (LANDING, "lake"):
            return self._labels(name, "source")
        if schema == FEEDS:
            return self._feeds.get(name, Text(name, name))
        return self._own["places"].get(schema, Text(name, name))

    def why(self, column: Column) -> Text | None:
        """Why a column is shown: in the segment's own words, or those of every segment."""
        own = self._facts.own_column(column)
        if own is not None:
            return Text(own.description, own.description)
        return self._shown.get(column.name) if self._facts.segment(column.relation) is not None else None


def _text(label: Label) -> Text:
    return Text(label.zh, label.en)


@functools.cache
def _own_words() -> dict[str, dict[str, Text]]:
    content = safe_yaml.load(FILE.read_text(encoding="utf-8"))
    return {
        name: {code: _text(Label.model_validate(label)) for code, label in labels.items()}
        for name, labels in content.items()
    }
