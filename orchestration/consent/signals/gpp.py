"""IAB Global Privacy Platform, version 1: `decode` a GPP string into a signal, `encode` sections. Not here: their form.

IAB Tech Lab, "Global Privacy Platform String" and Sections. Read: EU TCF v2 (`tcfeu2.` and the codes of tcf), US
Privacy (`uspv1.sale`), US national and the states (`usnat.`, `usca.` and so on: `sale`, `sharing`,
`targeted_advertising`, `sensitive_data.N`, `known_child.N`, `personal_data`, `additional_data_processing`, `gpc`). The
name alone, such as `usnat`, is granted where the section is there and sound. Values: those of tcf, `tcfeu2.created` on.

One section that does not add up makes the whole string malformed. Sections of other numbers, TCF Canada among them, are
passed over and listed in the field `unread`: they answer nothing, so nothing that asks for them is granted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestration.consent.signals import tcf, us_privacy
from orchestration.consent.signals.bits import FormatError, Reader, Writer
from orchestration.consent.signals.gpp_ranges import put_ids, take_ids
from orchestration.consent.signals.gpp_sections import BY_SECTION
from orchestration.consent.signals.gpp_us import UsSection, answers, read_section, write_section
from orchestration.consent.signals.lazy_fields import LazyFields
from orchestration.consent.signals.signal import MAX_SIGNAL, Answer, Signal, malformed
from orchestration.consent.signals.tcf_model import TcString

HEADER_TYPE, GPP_VERSION = 3, 1
# Section ID → the name that its codes begin with, and how the format is read that stands there unchanged.
INNER: Mapping[int, tuple[str, Callable[[str], Signal]]] = {
    2: ("tcfeu2", tcf.decode),
    6: ("uspv1", us_privacy.decode),
}
_SECTION = re.compile(r"[A-Za-z0-9_.-]+")  # what may stand between two `~`


def decode(text: str) -> Signal:
    if not isinstance(text, str) or len(text) > MAX_SIGNAL:
        return malformed("not a text of a bearable length")
    try:
        return _signal(sections_of(text))
    except FormatError as error:
        return malformed(str(error))


def sections_of(text: str) -> dict[int, str]:
    """Section ID → its text, by the header; FormatError where header and sections do not match."""
    header, *parts = text.split("~")
    reader = Reader(header)
    if (reader.take(6), reader.take(6)) != (HEADER_TYPE, GPP_VERSION):
        raise FormatError("not a GPP header of version 1")
    ids = take_ids(reader, len(parts))
    reader.finish()
    if len(ids) != len(parts):
        raise FormatError("there are other sections than the header lists")
    if not all(_SECTION.fullmatch(part) for part in parts):
        raise FormatError("a section has no text, or characters that no section has")
    return dict(zip(ids, parts, strict=True))


def encode(sections: Mapping[int, TcString | UsSection | str]) -> str:
    """The GPP string of section ID → model; a text, such as a US Privacy string, is taken as it is."""
    header = Writer()
    header.put(HEADER_TYPE, 6)
    header.put(GPP_VERSION, 6)
    put_ids(header, sorted(sections))
    return "~".join([header.segment(), *(_text(sections[number]) for number in sorted(sections))])


def _text(section: TcString | UsSection | str) -> str:
    if isinstance(section, TcString):
        return tcf.encode(section)
    return write_section(section) if isinstance(section, UsSection) else section


def _signal(texts: Mapping[int, str]) -> Signal:
    plain: dict[str, Answer] = {}
    sections: list[UsSection] = []
    inner: dict[str, Signal] = {}
    for number, text in texts.items():
        if number in BY_SECTION:
            sections.append(read_section(number, text))
            plain |= answers(sections[-1])
        elif number in INNER:
            name, decode_inner = INNER[number]
            inner[name] = decode_inner(text)
            if inner[name].problem is not None:
                raise FormatError(f"section {number}: {inner[name].problem}")
            plain[name] = "granted"
    values = {f"{name}.{key}": value for name, signal in inner.items() for key, value in signal.values.items()}
    parts = {name: signal.answers for name, signal in inner.items()}
    return Signal(GppAnswers(plain, parts), values, None, LazyFields(lambda: _fields(list(texts), sections, inner)))


def _fields(ids: list[int], sections: list[UsSection], inner: Mapping[str, Signal]) -> dict[str, Any]:
    return {
        "sections": ids,
        "unread": [number for number in ids if number not in BY_SECTION and number not in INNER],
        **{name: dict(signal.fields) for name, signal in inner.items()},
        **{section.layout.name: _written(section) for section in sections},
    }


def _written(section: UsSection) -> dict[str, Any]:
    """The fields by the names of the specification: a list where the specification has an N-Bitfield of several."""
    fields = {name: list(values) if len(values) > 1 else values[0] for name, values in section.fields.items()}
    return fields | {"Gpc": section.gpc} if section.layout.gpc else fields


class GppAnswers(Mapping[str, Answer]):
    """The answers of all sections; those of an inner format stay lazy behind the name of their section."""

    __slots__ = ("_parts", "_plain")

    def __init__(self, plain: Mapping[str, Answer], parts: Mapping[str, Mapping[str, Answer]]) -> None:
        self._plain = plain
        self._parts = parts

    def __getitem__(self, code: str) -> Answer:
        if code in self._plain:
            return self._plain[code]
        name, _, inner = code.partition(".") if isinstance(code, str) else ("", "", "")
        if name not in self._parts:
            raise KeyError(code)
        return self._parts[name][inner]

    def __iter__(self) -> Iterator[str]:
        yield from self._plain
        for name, part in self._parts.items():
            yield from (f"{name}.{code}" for code in part)

    def __len__(self) -> int:
        return len(self._plain) + sum(len(part) for part in self._parts.values())
