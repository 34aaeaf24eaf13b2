"""The words of receipts: our own terms beside DPV's, and the sentences for people, in both languages, from data."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

from orchestration import safe_yaml
from orchestration.policy.schema import Label, Strict

FILE = Path(__file__).with_name("vocabulary.yaml")
IRI = "urn:assent:vocab:"
Language = Literal["zh-CN", "en"]


class Term(Strict):
    """A term under `urn:assent:vocab:`; `broader` is the nearest one of DPV."""

    name: str
    broader: str | None = None
    label: Label
    definition: Label


class Wording(Strict):
    terms: tuple[Term, ...]
    texts: dict[str, Label]

    def say(self, text: str, language: Language, **values: str) -> str:
        return in_language(self.texts[text], language).format(**values)


def in_language(label: Label, language: Language) -> str:
    return label.zh if language == "zh-CN" else label.en


@functools.cache
def wording() -> Wording:
    return Wording.model_validate(safe_yaml.load(FILE.read_text(encoding="utf-8")))
