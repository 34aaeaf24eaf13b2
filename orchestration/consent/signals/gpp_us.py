"""The US sections of a GPP string, read and written by their layout. Not here: the layouts (gpp_sections).

The answers follow the strictest reading of each specification: see `answers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from orchestration.consent.signals.bits import FormatError, Reader, Writer
from orchestration.consent.signals.gpp_ranges import put_ids, take_ids
from orchestration.consent.signals.gpp_sections import (
    BY_SECTION,
    CODES,
    COVERED,
    GENERAL_NOTICES,
    NOTICES,
    NUMBERED,
    SENSITIVE,
    SIX_BITS,
    Layout,
)
from orchestration.consent.signals.signal import Answer

GPC_SUBSECTION = 1  # of SubsectionType; 0 is the core


class UsSection(NamedTuple):
    """One section: each field of its layout with as many values as it has, and GPC where it is said."""

    layout: Layout
    fields: Mapping[str, tuple[int, ...]]
    gpc: bool | None = None


def read_section(section: int, text: str) -> UsSection:
    """The section by the one layout that it fits; FormatError where there is none."""
    fitting = []
    for layout in BY_SECTION[section]:
        try:
            fitting.append(_read(layout, text.split(".")))
        except FormatError:
            continue
    if len(fitting) != 1:
        raise FormatError("a section does not add up")
    return fitting[0]


def _read(layout: Layout, segments: list[str]) -> UsSection:
    if not layout.headed:
        rest = segments[1:]
        if len(rest) > (1 if layout.gpc else 0):
            raise FormatError("a sub-section that the section does not have")
        return UsSection(layout, _core(layout, segments[0]), _gpc(rest[0]) if rest else None)
    parts = _listed(layout, segments)
    fields = _core(layout, segments[1])
    if layout.sensitive and parts:
        fields[SENSITIVE] = _values(Reader(parts[0]), ((SENSITIVE, layout.sensitive),))[SENSITIVE]
    return UsSection(layout, fields, _gpc(parts[0]) if layout.gpc and parts else None)


def _listed(layout: Layout, segments: list[str]) -> list[str]:
    """The optional sub-sections of a headed section, as its header lists them.

    The specification gives the core the ID 0, which a Fibonacci code cannot say: the header lists the others only."""
    reader = Reader(segments[0])
    if (reader.take(6), reader.take(6)) != (layout.section, layout.version):
        raise FormatError("the header of a section is of another section or version")
    ids = take_ids(reader, 1)
    reader.finish()
    if ids not in ([], [1]) or len(segments) != 2 + len(ids):
        raise FormatError("the sub-sections are not those that the header lists")
    return segments[2:]


def _core(layout: Layout, segment: str) -> dict[str, tuple[int, ...]]:
    if not layout.headed and Reader(segment[:1]).take(6) != layout.version:
        raise FormatError("a version of a section that is not known")
    fields = _values(Reader(segment), layout.fields)
    if fields[COVERED] == (0,):  # 1 yes, 2 no; 0 is not a value
        raise FormatError("a covered transaction that is neither yes nor no")
    return fields


def _values(reader: Reader, layout: tuple[tuple[str, int], ...]) -> dict[str, tuple[int, ...]]:
    left = sum(count * (6 if name in SIX_BITS else 2) for name, count in layout)
    whole = reader.take(left)
    fields = {}
    for name, count in layout:
        bits, mask = (6, 63) if name in SIX_BITS else (2, 3)
        left -= bits * count
        fields[name] = tuple((whole >> (left + bits * place)) & mask for place in reversed(range(count)))
        if bits == 2 and 3 in fields[name]:
            raise FormatError("a value that no field has")
    reader.finish()
    return fields


def _gpc(segment: str) -> bool:
    reader = Reader(segment)
    kind, on = reader.take(2), reader.take(1)
    reader.finish()
    if kind != GPC_SUBSECTION:
        raise FormatError("a sub-section of an unknown type")
    return on == 1


def write_section(section: UsSection) -> str:
    layout = section.layout
    segments = [_segment(section.fields, layout.fields)]
    if section.gpc is not None:
        segments.append(_gpc_segment(section.gpc))
    if layout.headed:
        if SENSITIVE in section.fields:
            segments.append(_segment(section.fields, ((SENSITIVE, layout.sensitive),)))
        header = Writer()
        header.put(layout.section, 6)
        header.put(layout.version, 6)
        put_ids(header, list(range(1, len(segments))))
        segments.insert(0, header.segment())
    return ".".join(segments)


def _segment(fields: Mapping[str, tuple[int, ...]], layout: tuple[tuple[str, int], ...]) -> str:
    writer = Writer()
    for name, count in layout:
        if len(fields[name]) != count:
            raise ValueError(f"{name} has another count")
        for value in fields[name]:
            writer.put(value, 6 if name in SIX_BITS else 2)
    return writer.segment()


def _gpc_segment(on: bool) -> str:
    writer = Writer()
    writer.put(GPC_SUBSECTION, 2)
    writer.put(int(on), 1)
    return writer.segment()


def answers(section: UsSection) -> dict[str, Answer]:
    """`NAME` granted: the section is there and sound. `NAME.gpc` refused where GPC is on.

    An opt-out: 1 refused, 2 and 0 silent. A consent: 1 refused, 2 granted, 0 silent; a disputed one never grants, and a
    doubtful one is refused.
    Refused too is what rests on a notice that was not provided, everything where that is the notice of the processing
    itself, and "did not opt out" of what the notice calls not applicable."""
    layout, fields = section.layout, section.fields
    told = all(fields.get(notice) != (2,) for notice in GENERAL_NOTICES)
    found: dict[str, Answer] = {layout.name: "granted"}
    for name, values in fields.items():
        if name not in CODES:
            continue
        notices = {fields[notice][0] for notice in NOTICES.get(name, ()) if notice in fields}
        code = f"{layout.name}.{CODES[name]}"
        for number, value in enumerate(values, 1):
            answer = _answer(layout, name, value, notices) if told else "refused"
            found[f"{code}.{number}" if name in NUMBERED else code] = answer
    if layout.gpc:
        found[f"{layout.name}.gpc"] = "refused" if section.gpc else "silent"
    return found


def _answer(layout: Layout, name: str, value: int, notices: set[int]) -> Answer:
    if 2 in notices or value == 1 or name in layout.doubtful:
        return "refused"
    if value == 0:
        return "silent"
    if name in layout.opt_outs:
        return "refused" if notices == {0} else "silent"
    return "refused" if name in layout.disputed else "granted"
