"""A GPP string read as its specifications are read, row by row. Not here: encoding.

IAB Tech Lab, "Global Privacy Platform String", Header Encoding; Sections, the specification of each. The forms below
are those documents' tables of fields, in their order: `name` two bits, `name:N` N times two bits."""

from __future__ import annotations

from collections.abc import Callable

from tests.oracle_signals import tcf, us_privacy
from tests.oracle_signals.bit_text import NotSoundError, bits_of, cut, nothing_left

MSPA = " MspaCoveredTransaction MspaOptOutOptionMode MspaServiceProviderMode"
NATIONAL = (
    "SharingNotice SaleOptOutNotice SharingOptOutNotice TargetedAdvertisingOptOutNotice "
    "SensitiveDataProcessingOptOutNotice SensitiveDataLimitUseNotice "
    "SaleOptOut SharingOptOut TargetedAdvertisingOptOut "
)
SHARING = "SharingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice "
PROCESSING = "ProcessingNotice SaleOptOutNotice TargetedAdvertisingOptOutNotice "
CHOICES = "SaleOptOut TargetedAdvertisingOptOut "
MORE = " AdditionalDataProcessingConsent"


def activities(sensitive: int, child: int) -> str:
    return f"SensitiveDataProcessing:{sensitive} KnownChildSensitiveDataConsents:{child}"


FORMS: dict[int, list[tuple[int, str]]] = {  # section → (version, fields), without Version
    7: [
        (1, NATIONAL + activities(12, 2) + " PersonalDataConsents" + MSPA),
        (1, NATIONAL + activities(16, 3) + " PersonalDataConsents" + MSPA),
        (2, NATIONAL + activities(16, 3) + " PersonalDataConsents" + MSPA),
    ],
    8: [
        (
            1,
            "SaleOptOutNotice SharingOptOutNotice SensitiveDataLimitUseNotice SaleOptOut SharingOptOut "
            + activities(9, 2)
            + " PersonalDataConsents"
            + MSPA,
        )
    ],
    9: [(1, SHARING + CHOICES + activities(8, 1) + MSPA)],
    10: [(1, SHARING + CHOICES + activities(7, 1) + MSPA)],
    11: [(1, SHARING + "SensitiveDataProcessingOptOutNotice " + CHOICES + activities(8, 1) + MSPA)],
    12: [(1, SHARING + CHOICES + activities(8, 3) + MSPA)],
    13: [(1, PROCESSING + CHOICES + activities(8, 3) + MORE + MSPA)],
    14: [(1, SHARING + CHOICES + activities(8, 3) + MORE + MSPA)],
    15: [(1, PROCESSING + CHOICES + activities(11, 3) + MORE + MSPA)],
    16: [(1, PROCESSING + CHOICES + activities(8, 1) + MORE + MSPA)],
    17: [(1, PROCESSING + CHOICES + activities(9, 5) + MORE + MSPA)],
    18: [(1, PROCESSING + "SensitiveDataOptOutNotice " + CHOICES + activities(8, 1) + MSPA)],
    19: [(1, PROCESSING + CHOICES + activities(8, 1) + MORE + MSPA)],
    20: [(1, PROCESSING + CHOICES + activities(8, 3) + MORE + MSPA)],
    21: [(1, PROCESSING + CHOICES + activities(10, 5) + MORE + MSPA)],
    22: [(1, PROCESSING + CHOICES + activities(8, 1) + MORE + MSPA)],
    23: [(1, PROCESSING + CHOICES + activities(8, 1) + MORE + MSPA)],
}
HEADED_CORE = "MspaCoveredTransaction MspaMode " + PROCESSING + CHOICES
CHILD = "KnownChildSensitiveDataConsents:1"
HEADED = {
    24: HEADED_CORE + MORE,
    25: HEADED_CORE + CHILD + MORE,
    26: HEADED_CORE + CHILD + MORE,
    27: HEADED_CORE + CHILD + MORE,
}
STATES = ["ca", "va", "co", "ut", "ct", "fl", "mt", "or", "tx", "de", "ia", "ne", "nh", "nj", "tn", "mn", "md", "in"]
STATES += ["ky", "ri"]
NAMES = {7: "usnat"} | {8 + place: "us" + state for place, state in enumerate(STATES)}
WITHOUT_GPC = (9, 11, 13, 25, 26, 27)  # Virginia, Utah, Florida; Indiana, Kentucky, Rhode Island
SENSITIVE_IS_AN_OPT_OUT = (8, 11, 18)  # California, Utah, Iowa
# Consents of which one released text says 1 is consent and a later one says 2 is: nothing is consent.
DISPUTED = {
    8: ("KnownChildSensitiveDataConsents", "PersonalDataConsents"),
    9: ("SensitiveDataProcessing", "KnownChildSensitiveDataConsents"),
    10: ("SensitiveDataProcessing", "KnownChildSensitiveDataConsents"),
    12: ("SensitiveDataProcessing", "KnownChildSensitiveDataConsents"),
    13: ("AdditionalDataProcessingConsent",),
    14: ("AdditionalDataProcessingConsent",),
    15: ("AdditionalDataProcessingConsent",),
    16: ("AdditionalDataProcessingConsent",),
}
CODES = {
    "sale": "SaleOptOut",
    "sharing": "SharingOptOut",
    "targeted_advertising": "TargetedAdvertisingOptOut",
    "sensitive_data": "SensitiveDataProcessing",
    "known_child": "KnownChildSensitiveDataConsents",
    "personal_data": "PersonalDataConsents",
    "additional_data_processing": "AdditionalDataProcessingConsent",
}
NOTICES = {
    "SaleOptOut": ["SaleOptOutNotice"],
    "SharingOptOut": ["SharingOptOutNotice"],
    "TargetedAdvertisingOptOut": ["TargetedAdvertisingOptOutNotice"],
    "SensitiveDataProcessing": [
        "SensitiveDataProcessingOptOutNotice",
        "SensitiveDataOptOutNotice",
        "SensitiveDataLimitUseNotice",
    ],
}
FIBONACCI = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597]


def answers(text: str) -> Callable[[str], str]:
    try:
        return read(sections_of(text))
    except NotSoundError:
        return lambda code: "refused"


def read(sections: dict[int, str]) -> Callable[[str], str]:
    inner: dict[str, Callable[[str], str]] = {}  # section name → what it answers to the rest of a code
    for section, part in sections.items():
        if section == 2:
            tcf.told_by(part)
            inner["tcfeu2"] = tcf.answers(part)
        elif section == 6:
            if not is_us_privacy(part):
                raise NotSoundError
            inner["uspv1"] = us_privacy.answers(part)
        elif section in NAMES:
            fields = fields_of(section, part)
            inner[NAMES[section]] = lambda rest, section=section, fields=fields: choice(section, fields, rest)  # type: ignore[misc]

    def answer(code: str) -> str:
        name, dot, rest = code.partition(".")
        if name not in inner:
            return "refused"
        return inner[name](rest) if dot else "granted"

    return answer


def is_us_privacy(text: str) -> bool:
    return len(text) == 4 and text[0] == "1" and all(character in "YN-" for character in text[1:])


def choice(section: int, fields: dict[str, list[int]], code: str) -> str:
    if code == "gpc":
        return "refused" if section in WITHOUT_GPC or fields["Gpc"] == [1] else "silent"
    word, _, number = code.partition(".")
    name = CODES.get(word, "")
    place = int(number) - 1 if number else 0
    if name not in fields or place not in range(len(fields[name])):
        return "refused"
    value = fields[name][place]
    for notice in ("SharingNotice", "ProcessingNotice", *NOTICES.get(name, [])):
        if fields.get(notice) == [2]:
            return "refused"
    if section == 7 and len(fields["SensitiveDataProcessing"]) == 12 and not name.endswith(("OptOut", "Processing")):
        return "refused"  # a longer string of this version, cut, has other fields in these bits
    if value == 0:
        return "silent"
    is_an_opt_out = "OptOut" in name or (name == "SensitiveDataProcessing" and section in SENSITIVE_IS_AN_OPT_OUT)
    if is_an_opt_out:
        for notice in NOTICES[name]:
            if fields.get(notice) == [0]:  # not applicable, and yet they did not opt out
                return "refused"
        return "silent" if value == 2 else "refused"
    if name in DISPUTED.get(section, ()):
        return "refused"
    return "granted" if value == 2 else "refused"


def sections_of(text: str) -> dict[int, str]:
    header, *parts = text.split("~")
    bits = bits_of(header)
    kind, bits = cut(bits, 6)
    version, bits = cut(bits, 6)
    if kind != 3 or version != 1:
        raise NotSoundError
    ids, bits = fibonacci_range(bits)
    nothing_left(bits)
    if len(ids) != len(parts):
        raise NotSoundError
    for part in parts:
        if part == "" or any(
            character not in ".-_" and not (character.isascii() and character.isalnum()) for character in part
        ):
            raise NotSoundError
    return dict(zip(ids, parts, strict=True))


def fibonacci_range(bits: str) -> tuple[list[int], str]:
    number, bits = cut(bits, 12)
    ids: list[int] = []
    last = 0
    for _ in range(number):
        group, bits = cut(bits, 1)
        offset, bits = fibonacci_number(bits)
        last = last + offset
        ids.append(last)
        if group == 1:
            length, bits = fibonacci_number(bits)
            for _ in range(length):
                last = last + 1
                ids.append(last)
    return ids, bits


def fibonacci_number(bits: str) -> tuple[int, str]:
    end = bits.find("11")
    if end < 0 or end + 2 > 16:  # numbers of sections are small
        raise NotSoundError
    total = 0
    for place in range(end + 1):
        if bits[place] == "1":
            total = total + FIBONACCI[place]
    return total, bits[end + 2 :]


def fields_of(section: int, text: str) -> dict[str, list[int]]:
    if section in HEADED:
        return headed(section, text)
    fitting = []
    for version, form in FORMS[section]:
        try:
            core, *rest = text.split(".")
            written, bits = cut(bits_of(core), 6)
            if written != version:
                raise NotSoundError
            fields = in_order(form, bits)
            if rest and (section in WITHOUT_GPC or len(rest) > 1):
                raise NotSoundError
            fields["Gpc"] = [gpc(rest[0]) if rest else 0]
            fitting.append(fields)
        except NotSoundError:
            pass
    if len(fitting) != 1:
        raise NotSoundError
    return fitting[0]


def headed(section: int, text: str) -> dict[str, list[int]]:
    segments = text.split(".")
    number, bits = cut(bits_of(segments[0]), 6)
    version, bits = cut(bits, 6)
    ids, bits = fibonacci_range(bits)
    nothing_left(bits)
    if number != section or version != 1 or ids not in ([], [1]) or len(segments) != len(ids) + 2:
        raise NotSoundError
    _, bits = cut(bits_of(segments[1]), 6)  # MspaVersion
    fields = in_order(HEADED[section], bits)
    fields["Gpc"] = [gpc(segments[2]) if ids and section == 24 else 0]
    if ids and section != 24:
        fields = fields | in_order("SensitiveDataProcessing:8", bits_of(segments[2]))
    return fields


def in_order(form: str, bits: str) -> dict[str, list[int]]:
    fields: dict[str, list[int]] = {}
    for word in form.split():
        name, _, count = word.partition(":")
        fields[name] = []
        for _ in range(int(count or 1)):
            value, bits = cut(bits, 2)
            if value == 3 or (name == "MspaCoveredTransaction" and value == 0):
                raise NotSoundError
            fields[name].append(value)
    nothing_left(bits)
    return fields


def gpc(segment: str) -> int:
    kind, bits = cut(bits_of(segment), 2)
    on, bits = cut(bits, 1)
    if kind != 1:
        raise NotSoundError
    nothing_left(bits)
    return on
