"""What a TC string permits, code by code, computed when asked. Not here: the bits (tcf_reader), our purposes (policy).

| code | granted where |
| --- | --- |
| `purpose.N`, `special_feature.N` | consent to the purpose, opt-in to the feature |
| `vendor.N` | consent to the vendor, who was shown to the user where the string must say so (v2.3) |
| `vendor.N.purpose.M` | both of them, and no publisher restriction forbids it |
| `purpose_li.N`, `vendor_li.N`, `vendor_li.N.purpose_li.M` | the same for legitimate interest: told, not objected to |
| `publisher.N`, `publisher_li.N`, `publisher_custom.N`, `publisher_custom_li.N` | the publisher TC segment says so |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from orchestration.consent.signals.signal import Answer
from orchestration.consent.signals.tcf_model import NONE, POLICY_2_2, PURPOSES, Ids, TcString

_CODE = re.compile(r"([a-z_]+)\.([1-9][0-9]{0,4})(?:\.([a-z_]+)\.([1-9][0-9]?))?")
_FORBIDS = {"vendor": (0, 2), "vendor_li": (0, 1)}  # restriction types: 0 not allowed, 1 consent only, 2 interest only
# Purpose 1 has no legitimate interest; v2.2 took it from purposes 3 to 6 as well.
_PURPOSE_1, _NO_INTEREST = Ids.of((1,), PURPOSES), Ids.of((1, 3, 4, 5, 6), PURPOSES)
_PAIRS = {"vendor": "purpose", "vendor_li": "purpose_li"}  # what a vendor's basis is joined with


class TcAnswers(Mapping[str, Answer]):
    """A mapping over every code the string speaks of. Pairs are there only for vendors and purposes that both hold: a
    string can name 65,535 vendors, so ask for a code rather than walk through all."""

    __slots__ = ("_barred", "_sets", "_string")

    def __init__(self, string: TcString) -> None:
        self._string = string
        self._sets: dict[str, Ids] | None = None
        self._barred: dict[tuple[str, int], Ids] | None = None

    def __getitem__(self, code: str) -> Answer:
        found = _CODE.fullmatch(code) if isinstance(code, str) else None
        if found is None:
            raise KeyError(code)
        name, number, other, partner = found[1], int(found[2]), found[3], found[4]
        ids = self._ids.get(name, NONE)
        if other is None:
            if number > ids.last:
                raise KeyError(code)
            return "granted" if ids.has(number) else "refused"
        if _PAIRS.get(name) != other or not (ids.has(number) and self._ids[other].has(int(partner))):
            raise KeyError(code)
        return "refused" if self._restricted(name, number, int(partner)) else "granted"

    def __iter__(self) -> Iterator[str]:
        for name, ids in self._ids.items():
            yield from (f"{name}.{number}" for number in range(1, ids.last + 1))
        for name, other in _PAIRS.items():
            purposes = self._ids[other].numbers()
            for vendor in self._ids[name].numbers():
                yield from (f"{name}.{vendor}.{other}.{purpose}" for purpose in purposes)

    def __len__(self) -> int:
        pairs = sum(self._ids[name].how_many() * self._ids[other].how_many() for name, other in _PAIRS.items())
        return sum(ids.last for ids in self._ids.values()) + pairs

    @property
    def _ids(self) -> dict[str, Ids]:
        if self._sets is None:
            self._sets = _effective(self._string)
        return self._sets

    def _restricted(self, name: str, vendor: int, purpose: int) -> bool:
        if self._barred is None:
            self._barred = _forbidden(self._string)
        return self._barred.get((name, purpose), NONE).has(vendor)


def _forbidden(string: TcString) -> dict[tuple[str, int], Ids]:
    """Of each purpose the vendors that publisher restrictions take its consent, or its legitimate interest, from."""
    last = max((restriction.vendors.last for restriction in string.restrictions), default=0)
    fields: dict[tuple[str, int], int] = {}
    for purpose, kind, vendors in string.restrictions:
        for name in (name for name, kinds in _FORBIDS.items() if kind in kinds):
            fields[name, purpose] = fields.get((name, purpose), 0) | vendors.field << (last - vendors.last)
    return {key: Ids(last, field) for key, field in fields.items()}


def _effective(string: TcString) -> dict[str, Ids]:
    """The sets as they count: without what the specification calls invalid although it is written."""
    sets = _written(string)
    if not string.service_specific:  # "When a Vendor encounters [such] a TC String [...] it is considered invalid"
        return {name: Ids(ids.last, 0) for name, ids in sets.items()}
    if string.purpose_one_treatment:  # purpose 1 was not disclosed at all
        sets["purpose"] = _without(sets["purpose"], _PURPOSE_1)
    denied = _NO_INTEREST if string.policy_version >= POLICY_2_2 else _PURPOSE_1
    sets["purpose_li"] = _without(sets["purpose_li"], denied)
    if string.publisher is not None:
        sets["publisher_li"] = _without(sets["publisher_li"], denied)
    if string.needs_disclosure:  # up to v2.2 the disclosed vendors were a record for the CMP and bound nobody
        shown = string.vendors_disclosed or NONE
        sets.update({name: _shown(sets[name], shown) for name in _PAIRS})
    return sets


def _written(string: TcString) -> dict[str, Ids]:
    """The sets by the name of their codes, the short ones first."""
    sets = {
        "purpose": string.purposes_consent,
        "purpose_li": string.purposes_interest,
        "special_feature": string.special_features,
    }
    if string.publisher is not None:
        sets["publisher"] = string.publisher.consent
        sets["publisher_li"] = string.publisher.interest
        sets["publisher_custom"] = string.publisher.custom_consent
        sets["publisher_custom_li"] = string.publisher.custom_interest
    return sets | {"vendor": string.vendors_consent, "vendor_li": string.vendors_interest}


def _without(ids: Ids, others: Ids) -> Ids:
    return Ids(ids.last, ids.field & ~others.field)


def _shown(vendors: Ids, shown: Ids) -> Ids:
    shift = vendors.last - shown.last
    return Ids(vendors.last, vendors.field & (shown.field << shift if shift >= 0 else shown.field >> -shift))
