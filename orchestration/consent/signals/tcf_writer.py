"""From the model of a TC string to its text, each list of vendors in its smaller encoding. Not here: reading."""

from __future__ import annotations

from orchestration.consent.signals.bits import Writer
from orchestration.consent.signals.tcf_model import CORE_FIELDS, Ids, Publisher, TcString
from orchestration.consent.signals.tcf_reader import ALLOWED, DISCLOSED, PUBLISHER


def write(string: TcString) -> str:
    segments = [_core(string)]
    if string.vendors_disclosed is not None:
        segments.append(_vendor_segment(DISCLOSED, string.vendors_disclosed))
    if string.vendors_allowed is not None:
        segments.append(_vendor_segment(ALLOWED, string.vendors_allowed))
    if string.publisher is not None:
        segments.append(_publisher_segment(string.publisher))
    return ".".join(segments)


def _core(string: TcString) -> str:
    writer = Writer()
    values = (
        2,
        string.created,
        string.last_updated,
        string.cmp_id,
        string.cmp_version,
        string.consent_screen,
        _letters(string.consent_language),
        string.vendor_list_version,
        string.policy_version,
        int(string.service_specific),
        int(string.non_standard_texts),
        string.special_features.field,
        string.purposes_consent.field,
        string.purposes_interest.field,
        int(string.purpose_one_treatment),
        _letters(string.publisher_country),
    )
    for value, (_, bits) in zip(values, CORE_FIELDS, strict=True):
        writer.put(value, bits)
    _put_vendors(writer, string.vendors_consent)
    _put_vendors(writer, string.vendors_interest)
    writer.put(len(string.restrictions), 12)
    for purpose, kind, vendors in string.restrictions:
        writer.put(purpose, 6)
        writer.put(kind, 2)
        _put_ranges(writer, vendors.ranges())
    return writer.segment()


def _letters(code: str) -> int:
    return (ord(code[0]) - 65) << 6 | (ord(code[1]) - 65)


def _vendor_segment(kind: int, vendors: Ids) -> str:
    writer = Writer()
    writer.put(kind, 3)
    _put_vendors(writer, vendors)
    return writer.segment()


def _publisher_segment(publisher: Publisher) -> str:
    writer = Writer()
    writer.put(PUBLISHER, 3)
    for ids in (publisher.consent, publisher.interest):
        writer.put(ids.field, ids.last)
    writer.put(publisher.custom_consent.last, 6)
    for ids in (publisher.custom_consent, publisher.custom_interest):
        writer.put(ids.field, publisher.custom_consent.last)
    return writer.segment()


def _put_vendors(writer: Writer, vendors: Ids) -> None:
    ranges = vendors.ranges()
    as_ranges = 12 + sum(17 if start == end else 33 for start, end in ranges) < vendors.last
    writer.put(vendors.last, 16)
    writer.put(int(as_ranges), 1)
    if as_ranges:
        _put_ranges(writer, ranges)
    else:
        writer.put(vendors.field, vendors.last)


def _put_ranges(writer: Writer, ranges: list[tuple[int, int]]) -> None:
    writer.put(len(ranges), 12)
    for start, end in ranges:
        writer.put(int(start != end), 1)
        writer.put(start, 16)
        if start != end:
            writer.put(end, 16)
