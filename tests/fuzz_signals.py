"""`python -m tests.fuzz_signals --format NAME --seconds N`: damaged and random input for one signal format.

Fails on an exception, an input that takes more than a second of CPU time, a malformed signal that answers, or a grant
that the plain reader of that format does not give; it then prints the input. Inputs come from Atheris, guided by
coverage, where that is installed, else from our own seeded damage: same seed, same inputs. Not here: the plain readers
(`tests/oracle_signals`, and `plainly_granted` in the tests of a document format)."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import FunctionType
from typing import Any, NoReturn

import click

from orchestration.consent.signals import gpp, tcf
from orchestration.consent.signals.gpp_sections import LAYOUTS, SENSITIVE, SIX_BITS
from orchestration.consent.signals.gpp_us import UsSection
from orchestration.consent.signals.registry import NAMES, STRINGS, format_of
from orchestration.consent.signals.signal import Signal
from tests.bench_signals import core, national, newest
from tests.oracle_signals import documents as plain_documents
from tests.unit.signals import test_gpp as gpp_tests
from tests.unit.signals import test_tcf as tcf_tests
from tests.unit.signals.objects import JUNK, nodes, replaced, without
from tests.unit.signals.strings import ALPHABET, answer, damaged, some_codes

SECONDS_PER_INPUT = 1.0
MOST_TEXT = 4_000  # characters: the plain readers cut texts bit by bit; the unit tests send what is longer
MOST_PARTS = 300  # of a document


class FoundError(Exception):
    """What may not happen, and the input that made it happen."""


@dataclass(frozen=True)
class Target:
    """One format: sound inputs to start from, how to damage one, and how to judge any."""

    seeds: list[Any]
    damage: Callable[[Any, list[Any], random.Random], Any]
    run: Callable[[Any], list[Signal]]
    granted: Callable[[Any], Callable[[str], bool]]

    def check(self, given: Any) -> None:
        began = time.process_time()
        try:
            signals = self.run(given)
            answered = [(code, answer(signal, code)) for signal in signals for code in some_codes(signal)]
        except Exception as error:  # whatever it is: that is what is looked for
            raise FoundError(f"it raised {type(error).__name__}: {given!r}") from error
        if time.process_time() - began > SECONDS_PER_INPUT:
            raise FoundError(f"it took more than a second: {given!r}")
        may = self.granted(given)
        for signal in signals:
            if signal.problem is not None and len(signal.answers):
                raise FoundError(f"malformed, and yet it answers: {given!r}")
        for code, said in answered:
            if said == "granted" and not may(code):
                raise FoundError(f"it grants {code}, which the plain reader does not: {given!r}")


def target(name: str) -> Target:
    form = format_of(name)
    if name in STRINGS:
        decode, plain = form.decode, importlib.import_module(f"tests.oracle_signals.{name}")
        assert decode is not None
        return Target(strings(name), damaged_text, lambda text: [decode(text)], lambda text: is_granted(plain, text))
    read = form.read
    assert read is not None
    tests = importlib.import_module(f"tests.unit.signals.test_{name}")
    at_most = getattr(plain_documents, name, None) or tests.plainly_granted
    own_words = getattr(tests, "WORDS", None)
    words = [*(own_words if isinstance(own_words, list) else plain_documents.WORDS), *JUNK]
    return Target(
        documents(tests),
        lambda given, seeds, chance: damaged_document(given, [*words, *seeds], chance),
        read,
        lambda document: at_most(document).__contains__,
    )


def is_granted(plain: Any, text: str) -> Callable[[str], bool]:
    answers = plain.answers(text)
    return lambda code: bool(answers(code) == "granted")


def strings(name: str) -> list[str]:
    """Sound texts of a format, of every shape that the tests know."""
    chance = random.Random(1)
    if name == "tcf":
        made = [tcf.encode(core(chance, *shape)) for shape in ((30, 0.3), (200, 0.02), (200, 0.6))]
        sound = [tcf_tests.GOLDEN_TEXT, tcf.encode(tcf_tests.OLD), *made, tcf.encode(newest(chance))]
        return [*sound, *tcf_tests.UNSOUND.values()]
    if name == "gpp":
        mixed = gpp.encode({2: tcf_tests.OLD, 6: "1YNN", 7: national(chance)})
        return [gpp_tests.SOUND, mixed, *each_section(), *gpp_tests.UNSOUND.values()]
    return ["1YNN", "1---", "1NYY"] if name == "us_privacy" else ["1", "0", "true"]


def each_section() -> Iterator[str]:
    """A string of each US section, with nothing opted out of and everything consented to."""
    for layout in LAYOUTS:
        fields = {
            name: ((layout.version if name in SIX_BITS else 1 if "Notice" in name else 2),) * count
            for name, count in layout.fields
        }
        if layout.sensitive:
            fields[SENSITIVE] = (2,) * layout.sensitive
        yield gpp.encode({layout.section: UsSection(layout, fields, False if layout.gpc else None)})


def damaged_text(text: str, seeds: list[str], chance: random.Random) -> str:
    if chance.random() < 0.05:
        return "".join(chance.choice(ALPHABET + ".~") for _ in range(chance.randrange(200)))
    if chance.random() < 0.2:  # the front of one and the end of another
        other = chance.choice(seeds)
        text = text[: chance.randrange(len(text) + 1)] + other[chance.randrange(len(other) + 1) :]
    for _ in range(chance.randrange(1, 5)):
        text = damaged(text, chance)
    return text[:MOST_TEXT]


def documents(tests: Any) -> list[Any]:
    """The sound documents that the tests of a format name: lists of them, or by name with what is expected."""
    for name in ("GOLDENS", "GOLDEN", "REQUEST", "PAPER"):
        found = getattr(tests, name, None)
        if isinstance(found, dict) and name == "GOLDEN":
            return [document for document, _ in found.values()]
        if found is not None:
            return found if isinstance(found, list) else [found]
    return [tests.own(change) for change in tests.EXPECTED]


def damaged_document(document: Any, words: list[Any], chance: random.Random) -> Any:
    for _ in range(chance.randrange(1, 5)):
        places = list(islice(nodes(document), MOST_PARTS))
        path, part = chance.choice(places)
        kind, word = chance.randrange(6), copy.deepcopy(chance.choice(words))
        if kind == 0 and path:
            document = without(document, path)
        elif kind == 1:
            document = replaced(document, path, copy.deepcopy(chance.choice(places)[1]))
        elif kind == 2 and isinstance(part, str):
            document = replaced(document, path, retyped(part, chance))
        elif kind == 3 and isinstance(part, dict) and isinstance(word, str):
            document = replaced(document, (*path, word), copy.deepcopy(chance.choice(words)))
        elif kind == 4 and isinstance(word, dict | list) and not path:  # two of a batch
            document = [document, word]
        else:
            document = replaced(document, path, word)
    return document


def retyped(text: str, chance: random.Random) -> str:
    """A text as people and systems mistype it: other case, a space, a character less, more or another."""
    place = chance.randrange(len(text) + 1)
    return chance.choice(
        [
            text.upper(),
            text.lower(),
            f" {text}\t",
            text[:place] + text[place + 1 :],
            text[:place] + "\x00" + text[place:],
        ]
    )


def by_seed(given: Target, seconds: float, seed: int) -> int:
    """How many inputs were judged in that time; each starts from a sound one, or from what damage left of one."""
    chance = random.Random(seed)
    pool = list(given.seeds)
    ends, count = time.monotonic() + seconds, 0
    for each in given.seeds:
        given.check(each)
    while time.monotonic() < ends:
        made = given.damage(chance.choice(pool), given.seeds, chance)
        given.check(made)
        count += 1
        if chance.random() < 0.02:
            pool = [*given.seeds, *pool[-200:], made]
    return count + len(given.seeds)


def by_coverage(name: str, given: Target, seconds: float, seed: int) -> NoReturn:
    """Hands over to Atheris, which ends the process itself: bytes are a text, or the text of a JSON document."""
    import atheris

    def parsed(data: bytes) -> Any:
        text = data.decode("utf-8", "ignore")[:MOST_TEXT]
        return text if name in STRINGS else json.loads(text)

    def judge(data: bytes) -> None:
        with contextlib.suppress(ValueError, RecursionError):
            given.check(parsed(data))

    def mutate(data: bytes, size: int, number: int) -> bytes:
        """Half of the time as the format is damaged, else as Atheris would."""
        chance = random.Random(number)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, size))
        before = chance.choice(given.seeds)
        if chance.random() < 0.8:
            with contextlib.suppress(ValueError, RecursionError):
                before = parsed(data)
        made = given.damage(before, given.seeds, chance)
        return (made if isinstance(made, str) else json.dumps(made)).encode("utf-8", "replace")[:size]

    for function in decoders():
        atheris.instrument_func(function)
    limits = [f"-max_total_time={int(seconds)}", f"-seed={seed}", f"-max_len={MOST_TEXT}"]
    found = f"-artifact_prefix={tempfile.gettempdir()}/assent-fuzz-{name}-"
    atheris.Setup([sys.argv[0], *limits, found], judge, custom_mutator=mutate)
    atheris.Fuzz()
    raise AssertionError("Atheris ends the process")


def decoders() -> Iterator[FunctionType]:
    """Every function and method of the modules of formats, whose branches guide Atheris."""
    for name, module in list(sys.modules.items()):
        if name.startswith("orchestration.consent.signals."):
            for holder in (module, *(one for one in vars(module).values() if isinstance(one, type))):
                own = [one for one in vars(holder).values() if isinstance(one, FunctionType)]
                yield from (function for function in own if function.__module__ == name)


@click.command()
@click.option("--format", "name", required=True, type=click.Choice(NAMES), help="The signal format.")
@click.option("--seconds", default=600.0, show_default=True, help="How long.")
@click.option("--seed", default=None, type=int, help="The same inputs again (else a random one, which is printed).")
@click.option("--own", is_flag=True, help="Our own damage even where Atheris is installed.")
def main(name: str, seconds: float, seed: int | None, own: bool) -> None:
    """Feed damaged and random input to one signal format, and stop at what may not happen."""
    seed = random.randrange(1, 10**6) if seed is None else seed
    given = target(name)
    if not own and importlib.util.find_spec("atheris") is not None:
        by_coverage(name, given, seconds, seed)
    try:
        count = by_seed(given, seconds, seed)
    except FoundError as found:
        click.echo(f"{name}, seed {seed}: {found}", err=True)
        sys.exit(1)
    click.echo(f"{name}: {count:,} inputs in {seconds:g} s, seed {seed}; nothing found")


if __name__ == "__main__":
    main()
