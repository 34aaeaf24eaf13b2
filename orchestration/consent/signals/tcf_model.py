"""A TC string as typed values, and the fields of its core in their order. Not here: what they permit (tcf_answers)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_VENDOR = 65_535  # 16 bits
PURPOSES = 24
SPECIAL_FEATURES = 12
# The format of TCF v2 has Version 2 in all releases; the release is told by TcfPolicyVersion: 2 and 3 are v2.0 and
# v2.1, 4 is v2.2, 5 is v2.3. What a later policy changes in the meaning of the bits is not known here.
POLICIES = range(2, 6)
POLICY_2_2 = 4
POLICY_2_3 = 5
# "TC Strings created after 28 February 2026 must include DisclosedVendors" (IAB Europe, transition to TCF v2.3),
# whatever policy they claim. In deciseconds, as the string counts.
DISCLOSURE_DUE = int((datetime(2026, 3, 1, tzinfo=UTC) - EPOCH).total_seconds()) * 10

CORE_FIELDS = (  # name, bits: the fixed part of the core segment, 213 bits
    ("version", 6),
    ("created", 36),
    ("lastUpdated", 36),
    ("cmpId", 12),
    ("cmpVersion", 12),
    ("consentScreen", 6),
    ("consentLanguage", 12),
    ("vendorListVersion", 12),
    ("tcfPolicyVersion", 6),
    ("isServiceSpecific", 1),
    ("useNonStandardTexts", 1),
    ("specialFeatureOptIns", SPECIAL_FEATURES),
    ("purposesConsent", PURPOSES),
    ("purposesLITransparency", PURPOSES),
    ("purposeOneTreatment", 1),
    ("publisherCC", 12),
)
CORE_BITS = sum(bits for _, bits in CORE_FIELDS)


_RUN = re.compile("1+")


class Ids(NamedTuple):
    """Numbers 1 to `last` as the wire has them: one bit each, number 1 first."""

    last: int
    field: int

    def has(self, number: int) -> bool:
        return 0 < number <= self.last and (self.field >> (self.last - number)) & 1 == 1

    def numbers(self) -> list[int]:
        bits = f"{self.field:0{self.last}b}" if self.last else ""
        return [number for number, bit in enumerate(bits, 1) if bit == "1"]

    def ranges(self) -> list[tuple[int, int]]:
        """The numbers as runs, first and last: 65,535 of them in a row are one."""
        bits = f"{self.field:0{self.last}b}" if self.last else ""
        return [(run.start() + 1, run.end()) for run in _RUN.finditer(bits)]

    def how_many(self) -> int:
        return self.field.bit_count()

    @classmethod
    def of(cls, numbers: Iterable[int], last: int | None = None) -> Ids:
        wanted = set(numbers)
        last = max(wanted, default=0) if last is None else last
        if wanted and not (min(wanted) > 0 and max(wanted) <= last):
            raise ValueError("a number is outside of its field")
        return cls(last, sum(1 << (last - number) for number in wanted))


NONE = Ids(0, 0)


class Restriction(NamedTuple):
    """What the publisher forbids some vendors for one purpose: 0 the purpose, 1 other than consent, 2 other than
    legitimate interest."""

    purpose: int
    kind: int
    vendors: Ids


class Publisher(NamedTuple):
    """The publisher TC segment: permissions of the publisher itself, and of purposes of its own making."""

    consent: Ids
    interest: Ids
    custom_consent: Ids
    custom_interest: Ids


class TcString(NamedTuple):
    """One TC string. Times are deciseconds since 1970, as the string has them; letters are two capitals."""

    created: int
    last_updated: int
    cmp_id: int = 0
    cmp_version: int = 0
    consent_screen: int = 0
    consent_language: str = "EN"
    vendor_list_version: int = 0
    policy_version: int = POLICY_2_3
    service_specific: bool = True
    non_standard_texts: bool = False
    special_features: Ids = Ids(SPECIAL_FEATURES, 0)
    purposes_consent: Ids = Ids(PURPOSES, 0)
    purposes_interest: Ids = Ids(PURPOSES, 0)
    purpose_one_treatment: bool = False
    publisher_country: str = "AA"
    vendors_consent: Ids = NONE
    vendors_interest: Ids = NONE
    restrictions: tuple[Restriction, ...] = ()
    vendors_disclosed: Ids | None = None
    vendors_allowed: Ids | None = None
    publisher: Publisher | None = None

    @property
    def needs_disclosure(self) -> bool:
        """From v2.3 on a vendor that was not shown holds nothing, and the segment that says so must be there."""
        return self.policy_version >= POLICY_2_3 or self.last_updated >= DISCLOSURE_DUE


@lru_cache(maxsize=4_096)  # CMPs round both times to the day, so few differ: 2.0 µs each without
def instant(deciseconds: int) -> str:
    return (EPOCH + timedelta(milliseconds=100 * deciseconds)).isoformat()
