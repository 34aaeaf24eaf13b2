"""From the text of a TC string to its model, refusing what does not add up. Not here: what it permits (tcf_answers).

IAB Tech Lab, "Transparency and Consent String with Global Vendor & CMP List Formats", TC String Format, to v2.3."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from orchestration.consent.signals.bits import FormatError, Reader
from orchestration.consent.signals.tcf_model import (
    CORE_BITS,
    CORE_FIELDS,
    POLICIES,
    PURPOSES,
    SPECIAL_FEATURES,
    Ids,
    Publisher,
    Restriction,
    TcString,
)

_ENDS = [sum(bits for _, bits in CORE_FIELDS[: place + 1]) for place in range(len(CORE_FIELDS))]
_SHIFTS = [(CORE_BITS - end, (1 << bits) - 1) for end, (_, bits) in zip(_ENDS, CORE_FIELDS, strict=True)]
DISCLOSED, ALLOWED, PUBLISHER = 1, 2, 3  # SegmentType, 3 bits; 0 is the core, which carries no type


def read(text: str) -> TcString:
    """The model of a TC string; FormatError where it is none."""
    core, *rest = text.split(".")
    segments: dict[int, Ids | Publisher] = {}
    for segment in rest:
        kind, content = _segment(segment)
        if kind in segments:
            raise FormatError("a segment is there twice")
        segments[kind] = content
    found = _core(core, segments)
    if found.needs_disclosure and found.vendors_disclosed is None:
        raise FormatError("no disclosed vendors, which TCF v2.3 makes mandatory")
    return found


def _core(segment: str, segments: dict[int, Ids | Publisher]) -> TcString:
    reader = Reader(segment)
    head = reader.take(CORE_BITS)
    (
        version,
        created,
        updated,
        cmp_id,
        cmp_version,
        screen,
        language,
        list_version,
        policy,
        specific,
        texts,
        features,
        consent,
        interest,
        one,
        country,
    ) = [(head >> shift) & mask for shift, mask in _SHIFTS]
    if version != 2:
        raise FormatError("the version is not 2")
    if policy not in POLICIES:
        raise FormatError("the policy version is not one of TCF v2.0 to v2.3")
    if created > updated:
        raise FormatError("created after its last update")
    vendors, interests = _vendors(reader), _vendors(reader)
    restrictions = _restrictions(reader)
    reader.finish()
    return TcString(
        created,
        updated,
        cmp_id,
        cmp_version,
        screen,
        _letters(language),
        list_version,
        policy,
        specific == 1,
        texts == 1,
        Ids(SPECIAL_FEATURES, features),
        Ids(PURPOSES, consent),
        Ids(PURPOSES, interest),
        one == 1,
        _letters(country),
        vendors,
        interests,
        restrictions,
        segments.get(DISCLOSED),  # type: ignore[arg-type]
        segments.get(ALLOWED),  # type: ignore[arg-type]
        segments.get(PUBLISHER),  # type: ignore[arg-type]
    )


@cache  # of twelve bits
def _letters(code: int) -> str:
    first, second = code >> 6, code & 63
    if first > 25 or second > 25:
        raise FormatError("a language or country is not two letters")
    return chr(65 + first) + chr(65 + second)


def _segment(segment: str) -> tuple[int, Ids | Publisher]:
    reader = Reader(segment)
    kind = reader.take(3)
    content: Ids | Publisher
    if kind in (DISCLOSED, ALLOWED):
        content = _vendors(reader)
    elif kind == PUBLISHER:
        content = _publisher(reader)
    else:
        raise FormatError("a segment of an unknown type")
    reader.finish()
    return kind, content


def _publisher(reader: Reader) -> Publisher:
    consent, interest = Ids(PURPOSES, reader.take(PURPOSES)), Ids(PURPOSES, reader.take(PURPOSES))
    custom = reader.take(6)
    return Publisher(consent, interest, Ids(custom, reader.take(custom)), Ids(custom, reader.take(custom)))


def _vendors(reader: Reader) -> Ids:
    """MaxVendorId, and a bit per vendor or ranges of vendors that hold."""
    head = reader.take(17)
    last = head >> 1
    if not head & 1:
        return Ids(last, reader.take(last))
    field, previous = 0, 0
    for start, end in reader.ranges():
        if start <= previous or end > last:
            raise FormatError("vendor ranges that do not ascend, or end after the last vendor")
        field |= ((2 << end - start) - 1) << last - end
        previous = end
    return Ids(last, field)


def _restrictions(reader: Reader) -> tuple[Restriction, ...]:
    count = reader.take(12)
    return tuple(_restriction(reader) for _ in range(count)) if count else ()


def _restriction(reader: Reader) -> Restriction:
    purpose, kind = reader.take(6), reader.take(2)
    if not 0 < purpose <= PURPOSES or kind == 3:  # 3 is "UNDEFINED (not used)"
        raise FormatError("a publisher restriction of an unknown purpose or type")
    ranges = reader.ranges()
    if not ranges:
        raise FormatError("a publisher restriction of no vendor")
    # CMPs did write a vendor twice (iabtcf-es issue 201): restricted all the same, so only the order is asked for.
    if any(later < earlier for (earlier, _), (later, _) in pairwise(ranges)):
        raise FormatError("restricted vendors that do not ascend")
    last = max(end for _, end in ranges)
    field = 0
    for start, end in ranges:
        field |= (1 << (last - start + 1)) - (1 << (last - end))
    return Restriction(purpose, kind, Ids(last, field))
