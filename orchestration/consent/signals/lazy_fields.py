"""What a signal shows to people, put together only when somebody looks. Not here: any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class LazyFields(Mapping[str, Any]):
    """The fields that `make` gives: most signals are asked for answers, and their fields never read."""

    __slots__ = ("_fields", "_make")

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._fields: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Any]:
        if self._fields is None:
            self._fields = self._make()
        return self._fields
