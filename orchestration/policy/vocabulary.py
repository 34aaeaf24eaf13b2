"""Typed access to the closed lists in `vocabulary.yaml`; a company's policy cannot replace them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from orchestration import safe_yaml
from orchestration.policy.schema import Basis, CategoryClass, Channel, Label, Name, Strict

FILE = Path(__file__).with_name("vocabulary.yaml")


class Word(Strict):
    """A code and what people read for it."""

    name: Name
    label: Label


class ChannelWord(Word):
    name: Channel


class CategoryWord(Word):
    name: CategoryClass


class ShownColumn(Word):
    """A column that a segment or a file has beside its own: why, and of which category of data."""

    category: CategoryClass


class CountColumn(Strict):
    """A column of counts; those of people are told only above policy's minimum size."""

    name: Name
    people: bool


class Method(Strict):
    """How a consent was given."""

    name: Name
    explicit: bool


class Decision(Strict):
    """What a consent record may say; a restricting one names the reason that it gives."""

    name: Name
    restricts: bool
    reason: Name | None = None

    @model_validator(mode="after")
    def _restriction_has_reason(self) -> Self:
        if self.restricts != (self.reason is not None):
            raise ValueError("a decision has a reason exactly when it restricts")
        return self


class BasisWord(Strict):
    """A legal basis; its place in the list is how strict it is."""

    name: Basis | Literal["none"]


class Vocabulary(Strict):
    """Every closed list, in the file's order; that of `reasons` is the order of evaluation."""

    reasons: tuple[Word, ...]
    quarantine_reasons: tuple[Word, ...]
    refusal_reasons: tuple[Word, ...]
    channels: tuple[ChannelWord, ...]
    categories: tuple[CategoryWord, ...]
    shown_columns: tuple[ShownColumn, ...]
    count_columns: tuple[CountColumn, ...]
    methods: tuple[Method, ...]
    decisions: tuple[Decision, ...]
    contract_facts: tuple[Word, ...]
    bases: tuple[BasisWord, ...]

    def names(self, which: str) -> tuple[str, ...]:
        """The codes of one list, e.g. `names("refusal_reasons")`."""
        return tuple(word.name for word in getattr(self, which))

    def label(self, which: str, name: str) -> Label:
        """What people read for one code of one list of words."""
        words: tuple[Word, ...] = getattr(self, which)
        return next(word.label for word in words if word.name == name)

    @property
    def restricting(self) -> frozenset[str]:
        """The decisions that restrict."""
        return frozenset(decision.name for decision in self.decisions if decision.restricts)

    @property
    def explicit_methods(self) -> frozenset[str]:
        return frozenset(method.name for method in self.methods if method.explicit)


@functools.cache
def vocabulary() -> Vocabulary:
    """The closed lists."""
    return Vocabulary.model_validate(safe_yaml.load(FILE.read_text(encoding="utf-8")))
