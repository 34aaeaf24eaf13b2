"""Collects the errors of the cross-checks, each with its file, line and remedy. Not here: what is checked."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Any

from orchestration.policy.loader import Problem, line_of

Step = str | int


class Findings:
    """The errors found so far in the files of one policy folder."""

    def __init__(self, trees: dict[str, Any]) -> None:
        self._trees = trees
        self.problems: list[Problem] = []

    def add(self, file: str, path: tuple[Step, ...], what: str, remedy: str) -> None:
        """One error at `path` of `file` (without `.yaml`)."""
        self.problems.append(Problem(f"{file}.yaml", line_of(self._trees.get(file), path), what, remedy))

    def raw(self, file: str, path: tuple[Step, ...]) -> Any:
        """What the file says at `path`, before typing; None where it says nothing."""
        value: Any = self._trees.get(file)
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def known(self, file: str, path: tuple[Step, ...], name: str, among: Collection[str], what: str) -> bool:
        """Whether `name` is one of `among`; an error if not, naming the choices."""
        if name in among:
            return True
        choices = ", ".join(sorted(among)) or f"none yet; add the {what} first"
        self.add(file, path, f"`{name}` is no {what} of this policy", f"Write one of: {choices}")
        return False

    def unique(self, file: str, path: tuple[Step, ...], values: Iterable[Hashable], what: str, *keys: Step) -> None:
        """An error at `path`, index, `keys` for every value that came before."""
        seen: set[Hashable] = set()
        for index, value in enumerate(values):
            if value in seen:
                shown = (
                    value if isinstance(value, str) else ", ".join(map(str, value if isinstance(value, tuple) else ()))
                )
                self.add(file, (*path, index, *keys), f"the {what} `{shown}` is given twice", "Keep one of them")
            seen.add(value)
