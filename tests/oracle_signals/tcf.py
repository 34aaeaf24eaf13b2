"""A TC string read as the specification's tables are read, row by row. Not here: encoding.

IAB Tech Lab, "Transparency and Consent String with Global Vendor & CMP List Formats", The Core String, Disclosed
Vendors, Allowed Vendors, Publisher TC. A vendor list is kept as ranges, so that one of 65,535 costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.oracle_signals.bit_text import NotSoundError, bits_of, cut, nothing_left

Ranges = list[tuple[int, int]]


@dataclass
class Told:
    purposes: list[bool] = field(default_factory=list)  # index 0 is purpose 1
    purposes_li: list[bool] = field(default_factory=list)
    features: list[bool] = field(default_factory=list)
    vendors: Ranges = field(default_factory=list)
    vendors_li: Ranges = field(default_factory=list)
    restrictions: list[tuple[int, int, Ranges]] = field(default_factory=list)
    global_scope: bool = False
    one_not_disclosed: bool = False
    policy: int = 0
    disclosure_due: bool = False
    disclosed: Ranges | None = None
    publisher: dict[str, list[bool]] = field(default_factory=dict)


def answers(text: str) -> Callable[[str], str]:
    try:
        told = told_by(text)
    except NotSoundError:
        return lambda code: "refused"
    return lambda code: "granted" if holds(told, code) else "refused"


def told_by(text: str) -> Told:
    parts = text.split(".")
    told = core(bits_of(parts[0]))
    seen = []
    for part in parts[1:]:
        kind, bits = cut(bits_of(part), 3)
        if kind in seen:
            raise NotSoundError
        seen.append(kind)
        if kind == 1:
            told.disclosed, bits = vendor_section(bits)
        elif kind == 2:
            _, bits = vendor_section(bits)
        elif kind == 3:
            told.publisher, bits = publisher_section(bits)
        else:
            raise NotSoundError
        nothing_left(bits)
    if told.disclosure_due and told.disclosed is None:
        raise NotSoundError
    return told


def core(bits: str) -> Told:
    told = Told()
    version, bits = cut(bits, 6)
    created, bits = cut(bits, 36)
    updated, bits = cut(bits, 36)
    _, bits = cut(bits, 12)  # CmpId
    _, bits = cut(bits, 12)  # CmpVersion
    _, bits = cut(bits, 6)  # ConsentScreen
    language_1, bits = cut(bits, 6)
    language_2, bits = cut(bits, 6)
    _, bits = cut(bits, 12)  # VendorListVersion
    told.policy, bits = cut(bits, 6)
    service_specific, bits = cut(bits, 1)
    _, bits = cut(bits, 1)  # UseNonStandardTexts
    told.features, bits = one_by_one(bits, 12)
    told.purposes, bits = one_by_one(bits, 24)
    told.purposes_li, bits = one_by_one(bits, 24)
    treatment, bits = cut(bits, 1)
    country_1, bits = cut(bits, 6)
    country_2, bits = cut(bits, 6)
    if version != 2 or created > updated or told.policy not in (2, 3, 4, 5):
        raise NotSoundError
    for letter in (language_1, language_2, country_1, country_2):
        if letter > 25:
            raise NotSoundError
    told.global_scope = service_specific == 0
    told.one_not_disclosed = treatment == 1
    told.disclosure_due = told.policy == 5 or updated / 10 >= datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    told.vendors, bits = vendor_section(bits)
    told.vendors_li, bits = vendor_section(bits)
    number, bits = cut(bits, 12)
    for _ in range(number):
        purpose, bits = cut(bits, 6)
        kind, bits = cut(bits, 2)
        vendors, bits = range_entries(bits)
        if purpose < 1 or purpose > 24 or kind == 3 or vendors == []:
            raise NotSoundError
        before = 0
        for start, _ in vendors:
            if start < before:
                raise NotSoundError
            before = start
        told.restrictions.append((purpose, kind, vendors))
    nothing_left(bits)
    return told


def one_by_one(bits: str, size: int) -> tuple[list[bool], str]:
    if len(bits) < size:
        raise NotSoundError
    return [bit == "1" for bit in bits[:size]], bits[size:]


def vendor_section(bits: str) -> tuple[Ranges, str]:
    largest, bits = cut(bits, 16)
    is_range, bits = cut(bits, 1)
    if is_range == 0:
        each, bits = one_by_one(bits, largest)
        return [(place + 1, place + 1) for place in range(largest) if each[place]], bits
    ranges, bits = range_entries(bits)
    before = 0
    for start, end in ranges:
        if start <= before or end > largest:
            raise NotSoundError
        before = end
    return ranges, bits


def range_entries(bits: str) -> tuple[Ranges, str]:
    number, bits = cut(bits, 12)
    ranges = []
    for _ in range(number):
        is_a_range, bits = cut(bits, 1)
        start, bits = cut(bits, 16)
        end = start
        if is_a_range == 1:
            end, bits = cut(bits, 16)
        if start == 0 or end < start:
            raise NotSoundError
        ranges.append((start, end))
    return ranges, bits


def publisher_section(bits: str) -> tuple[dict[str, list[bool]], str]:
    found = {}
    found["publisher"], bits = one_by_one(bits, 24)
    found["publisher_li"], bits = one_by_one(bits, 24)
    number, bits = cut(bits, 6)
    found["publisher_custom"], bits = one_by_one(bits, number)
    found["publisher_custom_li"], bits = one_by_one(bits, number)
    return found, bits


def holds(told: Told, code: str) -> bool:
    words = code.split(".")
    if told.global_scope:
        return False
    if len(words) == 4:
        vendor, purpose = ".".join(words[:2]), ".".join(words[2:])
        if (words[0], words[2]) not in (("vendor", "purpose"), ("vendor_li", "purpose_li")):
            return False
        if not holds(told, vendor) or not holds(told, purpose):
            return False
        for restricted, kind, vendors in told.restrictions:
            if restricted == int(words[3]) and within(int(words[1]), vendors):
                if kind == 0:
                    return False
                if words[0] == "vendor" and kind == 2:
                    return False
                if words[0] == "vendor_li" and kind == 1:
                    return False
        return True
    if len(words) != 2:
        return False
    name, number = words[0], int(words[1])
    if name == "purpose":
        return not (number == 1 and told.one_not_disclosed) and at(told.purposes, number)
    if name in ("purpose_li", "publisher_li"):
        if number == 1 or (told.policy >= 4 and number in (3, 4, 5, 6)):
            return False
        return at(told.purposes_li if name == "purpose_li" else told.publisher.get(name, []), number)
    if name == "special_feature":
        return at(told.features, number)
    if name in ("vendor", "vendor_li"):
        if told.disclosure_due and not within(number, told.disclosed or []):
            return False
        return within(number, told.vendors if name == "vendor" else told.vendors_li)
    return at(told.publisher.get(name, []), number)


def at(each: list[bool], number: int) -> bool:
    return 1 <= number <= len(each) and each[number - 1]


def within(vendor: int, ranges: Ranges) -> bool:
    return any(start <= vendor <= end for start, end in ranges)
