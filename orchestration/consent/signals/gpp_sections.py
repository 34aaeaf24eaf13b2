"""The US sections of a GPP string as one table: fields, counts and where they end. Not here: reading them (gpp_us).

IAB Tech Lab, Global Privacy Platform, Sections: "Section Information" and the technical specification of each section.
Every field has two bits but for the two versions (six); a count is that of an N-Bitfield(2, count), which every
published implementation writes without the length that the general data type has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

SIX_BITS = frozenset({"Version", "MspaVersion"})
SENSITIVE, CHILD = "SensitiveDataProcessing", "KnownChildSensitiveDataConsents"
PERSONAL, ADDITIONAL = "PersonalDataConsents", "AdditionalDataProcessingConsent"
COVERED = "MspaCoveredTransaction"
GENERAL_NOTICES = ("SharingNotice", "ProcessingNotice")  # of the processing itself: without it nothing was told
MSPA = (COVERED, "MspaOptOutOptionMode", "MspaServiceProviderMode")
CODES = {  # field → code after the section's name; fields with several data activities add `.N`
    "SaleOptOut": "sale",
    "SharingOptOut": "sharing",
    "TargetedAdvertisingOptOut": "targeted_advertising",
    SENSITIVE: "sensitive_data",
    CHILD: "known_child",
    PERSONAL: "personal_data",
    ADDITIONAL: "additional_data_processing",
}
NUMBERED = frozenset({SENSITIVE, CHILD})
NOTICES = {  # field → the notices that it rests on, where the section has them
    "SaleOptOut": ("SaleOptOutNotice",),
    "SharingOptOut": ("SharingOptOutNotice",),
    "TargetedAdvertisingOptOut": ("TargetedAdvertisingOptOutNotice",),
    SENSITIVE: (
        "SensitiveDataProcessingOptOutNotice",
        "SensitiveDataOptOutNotice",
        "SensitiveDataLimitUseNotice",
    ),
}


class Layout(NamedTuple):
    """One published form of one section."""

    name: str  # the prefix of its codes, as of the client side API
    section: int
    version: int
    fields: tuple[tuple[str, int], ...]  # of the core, in order, with their counts
    opt_outs: frozenset[str]  # 1 opted out, 2 did not; the other answers are consents: 1 no consent, 2 consent
    disputed: frozenset[str]  # consents whose 1 and 2 were published with opposite meanings: neither grants
    gpc: bool = True  # the section has a sub-section for GPC
    headed: bool = False  # the section starts with a header that lists its sub-sections
    sensitive: int = 0  # data activities in a sub-section of their own
    doubtful: frozenset[str] = frozenset()  # consents that may be other fields of a longer form that was cut: refused


OPT_OUTS = frozenset({"SaleOptOut", "SharingOptOut", "TargetedAdvertisingOptOut"})


def _national(version: int, sensitive: int, child: int, doubtful: Iterable[str] = ()) -> Layout:
    fields = (
        ("SharingNotice", 1),
        ("SaleOptOutNotice", 1),
        ("SharingOptOutNotice", 1),
        ("TargetedAdvertisingOptOutNotice", 1),
        ("SensitiveDataProcessingOptOutNotice", 1),
        ("SensitiveDataLimitUseNotice", 1),
        ("SaleOptOut", 1),
        ("SharingOptOut", 1),
        ("TargetedAdvertisingOptOut", 1),
        (SENSITIVE, sensitive),
        (CHILD, child),
        (PERSONAL, 1),
    )
    return Layout("usnat", 7, version, _core(fields), OPT_OUTS, frozenset(), doubtful=frozenset(doubtful))


def _california() -> Layout:
    fields = (
        ("SaleOptOutNotice", 1),
        ("SharingOptOutNotice", 1),
        ("SensitiveDataLimitUseNotice", 1),
        ("SaleOptOut", 1),
        ("SharingOptOut", 1),
        (SENSITIVE, 9),
        (CHILD, 2),
        (PERSONAL, 1),
    )
    return Layout("usca", 8, 1, _core(fields), OPT_OUTS | {SENSITIVE}, frozenset({CHILD, PERSONAL}))


def _core(fields: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return ("Version", 1), *fields, *((name, 1) for name in MSPA)


class State(NamedTuple):
    """What tells the sections of the states apart; the rest they share."""

    name: str
    section: int
    notice: str
    sensitive: int
    child: int
    additional: bool = True  # AdditionalDataProcessingConsent
    sensitive_notice: str = ""  # there is one where sensitive data is an opt-out
    disputed: tuple[str, ...] = ()
    gpc: bool = True


_SHARING, _PROCESSING = GENERAL_NOTICES
_BOTH = (SENSITIVE, CHILD)
# Disputed: the releases of November 2022 (CA, VA, CO, CT) and May 2024 (FL, MT, OR, TX) say "1 Consent, 2 No Consent",
# later texts the opposite, under the same version number. Who wrote a string by which text cannot be told.
STATES = (
    State("usva", 9, _SHARING, 8, 1, additional=False, disputed=_BOTH, gpc=False),
    State("usco", 10, _SHARING, 7, 1, additional=False, disputed=_BOTH),
    State("usut", 11, _SHARING, 8, 1, False, "SensitiveDataProcessingOptOutNotice", gpc=False),
    State("usct", 12, _SHARING, 8, 3, additional=False, disputed=_BOTH),
    State("usfl", 13, _PROCESSING, 8, 3, disputed=(ADDITIONAL,), gpc=False),
    State("usmt", 14, _SHARING, 8, 3, disputed=(ADDITIONAL,)),
    State("usor", 15, _PROCESSING, 11, 3, disputed=(ADDITIONAL,)),
    State("ustx", 16, _PROCESSING, 8, 1, disputed=(ADDITIONAL,)),
    State("usde", 17, _PROCESSING, 9, 5),
    State("usia", 18, _PROCESSING, 8, 1, False, "SensitiveDataOptOutNotice"),
    State("usne", 19, _PROCESSING, 8, 1),
    State("usnh", 20, _PROCESSING, 8, 3),
    State("usnj", 21, _PROCESSING, 10, 5),
    State("ustn", 22, _PROCESSING, 8, 1),
    State("usmn", 23, _PROCESSING, 8, 1),
)


def _state(state: State) -> Layout:
    notices = (state.notice, "SaleOptOutNotice", "TargetedAdvertisingOptOutNotice", state.sensitive_notice)
    fields = (
        *((name, 1) for name in notices if name),
        ("SaleOptOut", 1),
        ("TargetedAdvertisingOptOut", 1),
        (SENSITIVE, state.sensitive),
        (CHILD, state.child),
        *(((ADDITIONAL, 1),) if state.additional else ()),
    )
    opt_outs = OPT_OUTS | {SENSITIVE} if state.sensitive_notice else OPT_OUTS
    return Layout(state.name, state.section, 1, _core(fields), opt_outs, frozenset(state.disputed), gpc=state.gpc)


def _headed(name: str, section: int, *, child: bool, gpc: bool, sensitive: int) -> Layout:
    """The form of the sections from 24 on: a header, the core, and the sub-sections that the header lists."""
    fields = (
        ("MspaVersion", 1),
        (COVERED, 1),
        ("MspaMode", 1),
        (_PROCESSING, 1),
        ("SaleOptOutNotice", 1),
        ("TargetedAdvertisingOptOutNotice", 1),
        ("SaleOptOut", 1),
        ("TargetedAdvertisingOptOut", 1),
        *(((CHILD, 1),) if child else ()),
        (ADDITIONAL, 1),
    )
    return Layout(name, section, 1, fields, OPT_OUTS, frozenset(), gpc, headed=True, sensitive=sensitive)


LAYOUTS = (
    _national(1, 12, 2, (CHILD, PERSONAL)),  # cut after 60 bits, the next reads as this one
    _national(1, 16, 3),  # so the reference implementation wrote version 2 until it changed the number
    _national(2, 16, 3),
    _california(),
    *(_state(state) for state in STATES),
    _headed("usmd", 24, child=False, gpc=True, sensitive=0),
    _headed("usin", 25, child=True, gpc=False, sensitive=8),
    _headed("usky", 26, child=True, gpc=False, sensitive=8),
    _headed("usri", 27, child=True, gpc=False, sensitive=8),
)
BY_SECTION: dict[int, tuple[Layout, ...]] = {
    layout.section: tuple(other for other in LAYOUTS if other.section == layout.section) for layout in LAYOUTS
}
