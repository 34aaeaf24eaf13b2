"""The fuzzer: it finds what may not happen in decoders that were broken on purpose, and nothing in the others."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import pytest

from orchestration.consent.signals import segment, tcf_answers
from orchestration.consent.signals.bits import Reader
from orchestration.consent.signals.registry import NAMES, STRINGS
from orchestration.consent.signals.signal import Signal
from tests.fuzz_signals import FoundError, Target, by_seed, target


class Always(dict[str, Any]):
    """The same under any name."""

    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what

    def get(self, *_: object) -> Any:
        return self.what

    def __contains__(self, _: object) -> bool:
        return True


@pytest.mark.parametrize("name", sorted(STRINGS))
def test_the_fuzzer_finds_nothing_in_a_decoder_of_strings(name: str) -> None:
    assert by_seed(target(name), seconds=0.5, seed=11) > len(target(name).seeds)


@pytest.mark.parametrize("name", NAMES)
def test_the_fuzzer_knows_every_format_and_its_sound_inputs(name: str) -> None:
    given = target(name)
    assert given.seeds
    for each in given.seeds:
        given.check(each)
    assert any(given.run(each) for each in given.seeds)


def fails(given: Target) -> None:
    with pytest.raises(FoundError):
        by_seed(given, seconds=20, seed=11)


def test_the_fuzzer_finds_a_decoder_that_pads_what_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Reader.take

    def padding(reader: Reader, size: int) -> int:
        missing = max(0, reader.at + size - reader.length)
        return honest(reader, size - missing) << missing

    monkeypatch.setattr(Reader, "take", padding)
    fails(target("tcf"))


def test_the_fuzzer_finds_a_decoder_that_forgets_restrictions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcf_answers, "_FORBIDS", {"vendor": (0,), "vendor_li": (0, 1)})
    fails(target("tcf"))


def test_the_fuzzer_finds_a_reader_of_documents_that_takes_any_truth_for_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    def truthy(document: Any) -> list[Signal]:
        consent = document.get("context", {}).get("consent", {}) if isinstance(document, dict) else {}
        choices = consent.get("categoryPreferences", {}) if isinstance(consent, dict) else {}
        chosen = choices.items() if isinstance(choices, dict) else ()
        return [Signal({name: "granted" if choice else "refused" for name, choice in chosen})]

    given = target("segment")
    assert given.run is segment.read
    fails(replace(given, run=truthy))


@pytest.mark.parametrize(
    ("name", "where", "broken"),
    [
        pytest.param("wechat", "wechat._refusal_wins", list, id="accept wins over a reject of the same second"),
        pytest.param("wechat", "pushed._SECONDS", re.compile("[0-9]*"), id="a time of any length"),
        pytest.param("wecom", "wecom.FAMILY", "", id="of any family of events"),
        pytest.param("wecom", "wecom.CHANGES", Always({"adviser": "granted"}), id="a removal adds"),
        pytest.param("form", "form.PRE_TICKED", (), id="ticked beforehand"),
        pytest.param("form", "form.YES", {"☐", "1", "true"}, id="an empty box is a yes"),
        pytest.param("opendsr", "opendsr._UUID4", re.compile(".*"), id="a request without an id"),
        pytest.param("opendsr", "opendsr.IDENTITY_TYPES", Always(""), id="an identity of any type"),
    ],
)
def test_the_fuzzer_finds_a_reader_that_lacks_a_rule(
    name: str, where: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"orchestration.consent.signals.{where}", broken)
    fails(target(name))


def test_the_fuzzer_finds_a_decoder_that_raises_or_dawdles_or_answers_what_is_malformed() -> None:
    def dawdling(text: Any) -> list[Signal]:
        ends = time.process_time() + 1.1
        while time.process_time() < ends:
            pass
        return []

    given = target("us_privacy")
    for run in (
        lambda text: [Signal(values=dict(text))],
        dawdling,
        lambda text: [Signal({"sale": "refused"}, problem="x")],
    ):
        fails(replace(given, run=run))
