"""Where each kind of mark may lie: by the inventory of places (`retention/places.yaml`), narrower within a warehouse.

What no place declares may hold nothing. Not here: the marks (`marked.py`), the search (`canaries.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestration.policy.schema import Policy
from orchestration.retention.places import Place, inventory

MART = ("audience",)
INSIDE = ("pseudonym", "audience", "purpose_key")  # of a warehouse that is not taken apart: it holds all of them
BUILT = ("warehouse/building/", "tmp/duckdb/")


@dataclass(frozen=True)
class Allowance:
    """The kinds that may lie somewhere; audience keys only of `purpose`, where it is not None."""

    kinds: frozenset[str] = frozenset()
    purpose: str | None = None

    def covers(self, kind: str, purpose: str | None) -> bool:
        """Of a mark nothing else is asked: `_clear` of the search judges all of one kind and purpose at once."""
        if kind not in self.kinds:
            return False
        return kind != "audience" or self.purpose is None or purpose == self.purpose


NOTHING = Allowance()


class Allowances:
    """What may lie in each file of a home, and in each column of a warehouse."""

    def __init__(self, policy: Policy) -> None:
        self._places: Sequence[Place] = inventory(policy)
        self._purposes: Mapping[str, str] = {one.name: one.purpose for one in policy.segments.segments}
        self._last: tuple[str, Place | None] = ("", None)

    def of(self, name: str, how: str) -> Allowance:
        """`name`: relative to the home, or below `anchor/`. `how` it was read: the name of a file may hold nothing."""
        if how == "name":
            return NOTHING
        if name == "keys/master.key":
            return Allowance(frozenset({"master"}))
        if name.startswith("landing/"):
            return Allowance(frozenset({"contact"}))
        if name.startswith("outbox/"):
            return self._of_outbox(PurePosixPath(name), how)
        if name.startswith(BUILT):
            return Allowance(frozenset(INSIDE))
        place = self._place_of(name)
        return self._of_place(place, how) if place is not None else NOTHING

    def _place_of(self, name: str) -> Place | None:
        """The only one; asked for the file's every column."""
        if name != self._last[0]:
            places = [place for place in self._places if place.pattern.fullmatch(name)]
            self._last = (name, places[0] if len(places) == 1 else None)
        return self._last[1]

    def _of_place(self, place: Place, how: str) -> Allowance:
        if place.holds == "nothing":
            return NOTHING
        if place.of_policy == "warehouse":
            return self._of_table(place, *how.removeprefix("column ").split(" of ")) if " of " in how else _INSIDE
        if place.pseudonyms or (place.holds == "people" and (place.tables is None or place.of_policy == "lake")):
            return _PSEUDONYMS
        return NOTHING

    def _of_table(self, place: Place, column: str, table: str) -> Allowance:
        schema, _, name = table.partition(".")
        if schema == "marts":
            return Allowance(frozenset(MART), self._purposes.get(name, "")) if column == "audience_key" else NOTHING
        if (table, column) in place.pseudonyms:
            return _INSIDE
        return _PSEUDONYMS if schema in ("lake", "staging") else NOTHING

    def _of_outbox(self, path: PurePosixPath, how: str) -> Allowance:
        """An audience: contacts in their own column, and keys of its segment's purpose; see `canaries.cells`."""
        if path.suffix not in (".csv", ".parquet") or len(path.parts) < 3:
            return NOTHING
        if path.parts[1] == "_suppressions":
            return Allowance(frozenset({"contact"}))
        if how.startswith("column "):
            kinds = {"column audience_key": {"audience"}, "column contact": {"contact"}}.get(how, set())
        else:
            kinds = {"contact", "audience"}
        return Allowance(frozenset(kinds), self._purposes.get(path.parts[1], ""))


_INSIDE, _PSEUDONYMS = Allowance(frozenset(INSIDE)), Allowance(frozenset({"pseudonym"}))
