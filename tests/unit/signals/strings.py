"""Random models of TC and GPP strings, damaged texts, and what may never happen to them. Not here: the tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import islice

from hypothesis import strategies as st

from orchestration.consent.signals.bits import SEGMENT
from orchestration.consent.signals.gpp_sections import LAYOUTS, SENSITIVE, SIX_BITS, Layout
from orchestration.consent.signals.gpp_us import UsSection
from orchestration.consent.signals.signal import Signal
from orchestration.consent.signals.tcf_model import (
    DISCLOSURE_DUE,
    PURPOSES,
    SPECIAL_FEATURES,
    Ids,
    Publisher,
    Restriction,
    TcString,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
RANK = {"refused": 0, "silent": 1, "granted": 2}
MANY = 1_500  # codes looked at per string as they come: it may name 65,535 vendors, and so 1.5 million pairs
ENOUGH = 25  # vendors of each list whose pairs are looked at
DAY = 864_000  # deciseconds
BEFORE_2_3 = DISCLOSURE_DUE - DAY

letters = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2)
few, usual, last = st.integers(1, 40), st.integers(1, 1_500), st.integers(65_500, 65_535)
vendor_numbers = st.sampled_from([few, few, usual, usual, usual, few | last])


@st.composite
def vendors(draw: st.DrawFn, at_least: int = 0) -> Ids:
    """Scattered vendors and runs of them, so that both encodings occur."""
    numbers = draw(st.sets(draw(vendor_numbers), min_size=at_least, max_size=8))
    for start in draw(st.lists(st.integers(1, 900), max_size=2)):
        numbers |= set(range(start, start + draw(st.integers(1, 60))))
    return Ids.of(numbers)


def bits(size: int) -> st.SearchStrategy[Ids]:
    return st.integers(0, (1 << size) - 1).map(lambda field: Ids(size, field))


@st.composite
def tc_strings(draw: st.DrawFn) -> TcString:
    last = draw(st.one_of(st.integers(0, BEFORE_2_3), st.integers(DISCLOSURE_DUE, 2**36 - 1)))
    policy = draw(st.integers(2, 5))
    due = policy == 5 or last >= DISCLOSURE_DUE
    shown = draw(vendors()) if due else draw(st.none() | vendors())
    custom = draw(st.integers(0, 63))
    publisher = st.builds(Publisher, bits(PURPOSES), bits(PURPOSES), bits(custom), bits(custom))
    restriction = st.builds(Restriction, st.integers(1, 4) | st.integers(1, 24), st.integers(0, 2), vendors(at_least=1))
    return TcString(
        created=draw(st.integers(0, last)),
        last_updated=last,
        cmp_id=draw(st.integers(0, 4_095)),
        cmp_version=draw(st.integers(0, 4_095)),
        consent_screen=draw(st.integers(0, 63)),
        consent_language=draw(letters),
        vendor_list_version=draw(st.integers(0, 4_095)),
        policy_version=policy,
        service_specific=draw(st.sampled_from([True, True, True, False])),
        non_standard_texts=draw(st.booleans()),
        special_features=draw(bits(SPECIAL_FEATURES)),
        purposes_consent=draw(bits(PURPOSES)),
        purposes_interest=draw(bits(PURPOSES)),
        purpose_one_treatment=draw(st.booleans()),
        publisher_country=draw(letters),
        vendors_consent=draw(vendors()),
        vendors_interest=draw(vendors()),
        restrictions=tuple(draw(st.lists(restriction, max_size=4))),
        vendors_disclosed=shown,
        vendors_allowed=draw(st.none() | vendors()),
        publisher=draw(st.none() | publisher),
    )


@st.composite
def us_sections(draw: st.DrawFn, layouts: Iterable[Layout] = LAYOUTS) -> UsSection:
    layout = draw(st.sampled_from(list(layouts)))
    fields = {name: draw(_values(name, count, layout)) for name, count in layout.fields}
    if layout.sensitive and draw(st.booleans()):
        fields[SENSITIVE] = draw(_values(SENSITIVE, layout.sensitive, layout))
    gpc = draw(st.sampled_from([None, False, True])) if layout.gpc else None
    return UsSection(layout, fields, gpc)


def _values(name: str, count: int, layout: Layout) -> st.SearchStrategy[tuple[int, ...]]:
    if name == "Version":
        return st.just((layout.version,))
    low, high = (0, 63) if name in SIX_BITS else (1 if name == "MspaCoveredTransaction" else 0, 2)
    return st.tuples(*[st.integers(low, high)] * count)


us_privacy = st.from_regex(r"1[YN-][YN-][YN-]", fullmatch=True)


@st.composite
def gpp_sections(draw: st.DrawFn) -> dict[int, TcString | UsSection | str]:
    sections: dict[int, TcString | UsSection | str] = {}
    for section in draw(st.lists(us_sections(), max_size=4)):
        sections[section.layout.section] = section
    if draw(st.booleans()):
        sections[2] = draw(tc_strings())
    if draw(st.booleans()):
        sections[6] = draw(us_privacy)
    if draw(st.booleans()):
        sections[draw(st.sampled_from([1, 5, 28, 40, 900]))] = "unread"
    return sections


def flipped(text: str, chance: random.Random) -> str:
    """One bit of one character another, or a character that has no bits taken out."""
    place = chance.randrange(len(text))
    character = text[place]
    if character not in ALPHABET:
        return text[:place] + text[place + 1 :]
    other = ALPHABET[ALPHABET.index(character) ^ 1 << chance.randrange(6)]
    return text[:place] + other + text[place + 1 :]


def damaged(text: str, chance: random.Random) -> str:
    """A flip, a cut, an insertion, a repeated piece, or filling."""
    place = chance.randrange(len(text) + 1)
    kind = chance.randrange(5) if text else 2
    if kind == 0:
        return flipped(text, chance)
    if kind == 1:
        return text[:place]
    if kind == 2:
        return text[:place] + chance.choice(ALPHABET + ".~=+ \0é") + text[place:]
    if kind == 3:
        return text[:place] + text[chance.randrange(len(text)) :]
    return text + chance.choice("A_9") * chance.randrange(1, 9)


def some_codes(signal: Signal) -> list[str]:
    """The first codes of a signal, and of the vendors that a TC string names each pair with a purpose, there or not."""
    codes = list(islice(signal.answers, MANY))
    for prefix, fields in (("", signal.fields), ("tcfeu2.", signal.fields.get("tcfeu2", {}))):
        for name, other, listed in _LISTS:
            vendors = fields.get(listed, [])
            for vendor in {*vendors[:ENOUGH], *vendors[-ENOUGH:]}:
                codes.append(f"{prefix}{name}.{vendor}")
                codes += [f"{prefix}{name}.{vendor}.{other}.{purpose}" for purpose in range(1, PURPOSES + 1)]
    return codes


_LISTS = (
    ("vendor", "purpose", "vendorsConsent"),
    ("vendor_li", "purpose_li", "vendorsLegitimateInterest"),
)


def answer(signal: Signal, code: str) -> str:
    return signal.answers.get(code, "refused")


def more_than(part: Signal, whole: Signal) -> list[str]:
    """The codes that the part of a string answers more freely than the whole of it.

    But for `.gpc`: the GPC sub-section is optional, so a string cut before it is a string that says nothing of it."""
    return [
        code
        for code in some_codes(part)
        if not code.endswith(".gpc") and RANK[answer(part, code)] > RANK[answer(whole, code)]
    ]


def prefixes_that_grant_more(decode: Callable[[str], Signal], text: str) -> list[tuple[int, str]]:
    whole = decode(text)
    return [(size, code) for size in range(len(text)) for code in more_than(decode(text[:size]), whole)[:1]]


def fillings_that_grant_more(decode: Callable[[str], Signal], text: str) -> list[tuple[str, str]]:
    whole = decode(text)
    fillings = ["=", "==", " ", "\n", ".", "~", *(letter * size for letter in "AQ_" for size in range(1, 9))]
    return [(filling, code) for filling in fillings for code in more_than(decode(text + filling), whole)[:1]]


def deciseconds(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 10  # type: ignore[arg-type,misc]


def is_segment(text: str) -> bool:
    return SEGMENT.fullmatch(text) is not None
