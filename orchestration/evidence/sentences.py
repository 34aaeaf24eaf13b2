"""Sentences for people, in both languages at once, from `sentences.yaml` and the labels of policy and vocabulary.

Not here: which sentence is said (`person_text.py`)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from orchestration import safe_yaml
from orchestration.evidence.labels import Labels, Text
from orchestration.policy.schema import Label, Policy, Strict
from orchestration.policy.vocabulary import vocabulary

FILE = Path(__file__).with_name("sentences.yaml")
NOTHING = Text("", "")


class Sentences(Strict):
    sentences: dict[str, Label]
    words: dict[str, Label]


@functools.cache
def sentences() -> Sentences:
    return Sentences.model_validate(safe_yaml.load(FILE.read_text(encoding="utf-8")))


class Speaker:
    """Says codes and times as people do, by one policy."""

    def __init__(self, policy: Policy) -> None:
        self.labels = Labels(policy)
        self._zone = ZoneInfo(policy.organisation.zone)
        self._own: dict[str, dict[str, Label]] = {
            "kind": {kind.name: kind.label for kind in policy.organisation.identifier_kinds},
            "notice": {notice.id: notice.label for notice in policy.notices.notices},
            "feed": {feed.name: feed.label for feed in policy.sources.consent_feeds},
            "stage": {stage.name: stage.label for stage in policy.purposes.stages},
            "fact": {word.name: word.label for word in vocabulary().contract_facts},
        }

    def say(self, sentence: str, **values: Text | str | int) -> Text:
        label = sentences().sentences[sentence]
        return Text(label.zh.format(**_in("zh", values)), label.en.format(**_in("en", values)))

    def name(self, code: str | None, kind: str, otherwise: str = "") -> Text:
        """The label of a code of this kind (`kind`, `notice`, `feed`, `fact`, `word`, or one of `Labels`); of a code
        that has none what `otherwise` names, else the code."""
        own = self._own.get(kind, {}) if kind != "word" else sentences().words
        label = own.get(code or "") or sentences().words.get(code or "")
        if label is not None:
            return Text(label.zh, label.en)
        text = self.labels(code or "", kind)
        if text.en != code or not otherwise:
            return text
        fallback = sentences().words[otherwise]
        return Text(fallback.zh, fallback.en)

    def reason(self, code: str | None) -> Text:
        return self.labels(code or "")

    def time(self, value: str | None) -> str:
        """A moment as clocks on the wall show it there."""
        if not value:
            return ""
        return datetime.fromisoformat(value).astimezone(self._zone).strftime("%Y-%m-%d %H:%M")


def _in(language: str, values: Mapping[str, Text | str | int]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else getattr(value, language)
        for name, value in values.items()
    }
