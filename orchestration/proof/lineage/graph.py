"""The whole graph of lineage, from the fields of a source to the columns of a destination's file, and two questions to
it: what a column is made of and decided by, and where a field goes. Each end tells the gates that every way passes.

Not here: the edges (`proof/flow.py`, `origins.py`), and how an answer is told (`text.py`, `page.py`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Literal

from orchestration.proof.lineage.edges import ROWS, Column, Edge, indirect

Direction = Literal["back", "forward"]
MARTS, CONSENT = "marts", "ledger."
SHOWN = (MARTS, "governance", "exports")  # to people, or outside
KEPT = ("archive", "quarantine", "vault")  # beside the way to the models
STORED = ("lake", "ledger", "identity", "activity")  # an end where nothing reads it any further
# Where a walk is, the one segment that the way is of ("": any), and whether a value came all this way.
_State = tuple[Column, str, bool]
_Seen = dict[_State, tuple[_State, Edge] | None]  # from where it was reached first, by which edge


@dataclass(frozen=True)
class End:
    """Where a walk ends: as a value, or by deciding something on the way; a column may be both. `gates` are those that
    every such way passes; with none, some way goes around each. `around` is then a reviewed relation by which one does,
    and `is_free` whether one passes neither. `path` is a shortest way, from the data on."""

    column: Column
    is_direct: bool
    gates: tuple[str, ...]
    around: str | None
    is_free: bool
    path: tuple[Edge, ...]


class Lineage:
    """Edges, ready to be walked. `of_segment` names the pairs of relations between which only rows of one segment pass,
    so that one segment's audience is not said to come from another's mart."""

    def __init__(
        self,
        edges: Iterable[Edge],
        gates: Collection[str],
        of_segment: Mapping[tuple[str, str], str],
        reviewed: Collection[str] = (),
        columns: Iterable[Column] = (),
    ) -> None:
        self.edges = tuple(sorted(set(edges)))  # of ways equally short always the same is told
        self.gates, self.reviewed = tuple(sorted(gates)), tuple(sorted(reviewed))
        self.of_segment = of_segment
        ends = (column for edge in self.edges for column in (edge.source, edge.target))
        self.columns = tuple(sorted({*columns, *ends}))  # one of counts or constants has no edge of its own
        self._back: dict[Column, list[Edge]] = {column: [] for column in self.columns}
        self._forward: dict[Column, list[Edge]] = {column: [] for column in self.columns}
        for edge in (*self.edges, *self._of_rows()):
            self._back[edge.target].append(edge)
            self._forward[edge.source].append(edge)

    def _of_rows(self) -> list[Edge]:
        """Which rows there are decides what is seen of every column."""
        rows = {edge.target.relation for edge in self.edges if edge.target.name == ROWS}
        columns = [column for column in self.columns if column.name != ROWS and column.relation in rows]
        return [indirect(Column(column.relation, ROWS), column, "rows") for column in columns]

    @cached_property
    def _looked_at(self) -> tuple[str, ...]:
        """What passes these is permitted, reviewed, or a record of consent, which is what gates ask."""
        return (*self.gates, *self.reviewed, *(name for name in self.relations if name.startswith(CONSENT)))

    @cached_property
    def relations(self) -> dict[str, tuple[str, ...]]:
        """Relation → its columns."""
        found: dict[str, list[str]] = {column.relation: [] for column in self.columns}
        for column in self.columns:
            if column.name != ROWS:
                found[column.relation].append(column.name)
        return {name: tuple(columns) for name, columns in found.items()}

    def order(self) -> list[str]:
        """The relations, each after those that it is made from."""
        sources: dict[str, set[str]] = {name: set() for name in self.relations}
        for edge in self.edges:
            if edge.source.relation != edge.target.relation:
                sources[edge.target.relation].add(edge.source.relation)
        return list(TopologicalSorter({name: sorted(above) for name, above in sources.items()}).static_order())

    def __contains__(self, column: object) -> bool:
        return column in self._back

    def back(self, *columns: Column) -> list[End]:
        """What `columns` are made of, and what decides on them: fields of sources and consent feeds, policy, keys."""
        return self._ends(columns, "back")

    def forward(self, *columns: Column) -> list[End]:
        """Every place that one of `columns` reaches: as a value, or by deciding which rows are there."""
        return self._ends(columns, "forward")

    def affected(self, column: Column) -> set[Column]:
        """Every column on which `column` has any influence, and as `*` every relation whose rows it has one on."""
        return {reached for reached, _, _ in self._walk([column], "forward")}

    def _ends(self, columns: Sequence[Column], direction: Direction) -> list[End]:
        start = [column for column in columns if column in self]
        seen = self._walk(start, direction)
        reached = _first(seen)
        without = {gate: _first(self._walk(start, direction, shut=(gate,))) for gate in self.gates}
        around = self._walk(start, direction, shut=self.gates)
        by_review, free = _first(around), _first(self._walk(start, direction, shut=self._looked_at))
        return [
            End(
                end[0],
                end[1],
                gates=tuple(gate for gate in self.gates if end not in without[gate]),
                around=self._review_on(_way(around, by_review[end], direction)) if end in by_review else None,
                is_free=end in free,
                path=_way(seen, reached[end], direction),
            )
            for end in sorted(reached)
            if end[0] not in start and self._is_end(end[0], direction)
        ]

    def _review_on(self, path: Sequence[Edge]) -> str | None:
        """The first relation on a way that was reviewed."""
        return next((edge.target.relation for edge in path if edge.target.relation in self.reviewed), None)

    def _is_end(self, column: Column, direction: Direction) -> bool:
        if direction == "back":
            return not self._back[column] and column.name != ROWS
        schema = column.relation.partition(".")[0]
        return schema in SHOWN or schema in KEPT or (schema in STORED and not self._forward[column])

    def _walk(self, start: Sequence[Column], direction: Direction, *, shut: Collection[str] = ()) -> _Seen:
        """Breadth first, so that each state is reached by a shortest way. No way is in a relation that is `shut`."""
        onward = self._back if direction == "back" else self._forward
        seen: _Seen = {(column, "", True): None for column in start if column.relation not in shut}
        waiting: deque[_State] = deque(seen)
        while waiting:
            state = waiting.popleft()
            column, segment, is_value = state
            for edge in onward[column]:
                following = edge.source if direction == "back" else edge.target
                only = self._segment_after(edge, segment, following)
                if only is None or following.relation in shut:
                    continue
                after = (following, only, is_value and edge.is_direct)
                if after not in seen:
                    seen[after] = (state, edge)
                    waiting.append(after)
        return seen

    def _segment_after(self, edge: Edge, segment: str, following: Column) -> str | None:
        """The segment that the way is of after `edge`; None: no row takes this way."""
        only = self.of_segment.get((edge.source.relation, edge.target.relation))
        if only is not None and segment and only != segment:
            return None
        if following.relation.startswith(f"{MARTS}."):
            return ""  # of one segment by itself; what it leaves out it reads on purpose
        return only or segment


def _first(seen: _Seen) -> dict[tuple[Column, bool], _State]:
    """The columns reached as a value, and by deciding: each with the state by which it was reached first."""
    found: dict[tuple[Column, bool], _State] = {}
    for state in seen:
        found.setdefault((state[0], state[2]), state)
    return found


def _way(seen: _Seen, state: _State, direction: Direction) -> tuple[Edge, ...]:
    """The edges by which `state` was reached, from the data to where it goes."""
    edges: list[Edge] = []
    while (step := seen[state]) is not None:
        state, edge = step
        edges.append(edge)
    return tuple(edges if direction == "back" else reversed(edges))
