"""Makes a twin: a world that differs from another in what is forbidden for an audience, and in nothing else.

Any set of changes makes a world that policy must not tell from the other, so a difference can be traced to a single
one. Not here: what is forbidden (`forbidden.py`), what must be equal (`exposed.py`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from orchestration.ingestion.quoting import ident, text
from orchestration.policy.schema import Policy
from orchestration.proof.twins.alternatives import Alternatives, Words
from orchestration.proof.twins.forbidden import HIDDEN, WHOLE, Audience, tell_forbidden
from orchestration.proof.twins.others import Others
from orchestration.proof.twins.sample import NODES, personal_tables, staged_tables
from orchestration.proof.twins.world import DERIVED, World, quoted

Done = Literal["changed", "moved", "renamed", "removed", "added"]
TOUCHPOINT_KINDS = (*WHOLE, "ended", *HIDDEN)
KEYS = "identity.purpose_keys"
_ROWS: tuple[Done, ...] = ("removed", "added")


@dataclass(frozen=True, order=True)
class Change:
    """Of one kind of what is forbidden, what is done to which table and column. Somebody renamed is in every table."""

    kind: str
    done: Done
    table: str = ""
    column: str = ""

    @property
    def keeps_hidden(self) -> bool:
        """Whether those who may be members have as much hidden from the segment as before."""
        return self.kind not in HIDDEN or self.done == "changed"


@dataclass(frozen=True)
class Twins:
    """The changes that are forbidden for one audience, to `base`."""

    base: World
    policy: Policy
    audience: Audience
    words: Words
    others: Others

    @cached_property
    def columns(self) -> dict[str, Mapping[str, str]]:
        """Of each table with rows about people."""
        return {table: self.base.columns(table) for table in personal_tables(self.policy)}

    def changes(self) -> list[Change]:
        """Every one, in the order in which they are told."""
        found = [Change("key", "changed", KEYS, "key"), *(Change(kind, "renamed") for kind in WHOLE)]
        for table, columns in self.columns.items():
            for node in self._nodes(table):
                self._renamed(table, node)
            kinds = self._kinds(table)
            found += [Change(kind, done, table) for kind in kinds for done in _ROWS]
            found += [
                change
                for kind in (*kinds, "field", "stage")
                for column in columns
                for change in self._of(kind, table, column)
            ]
        return found

    def _kinds(self, table: str) -> tuple[str, ...]:
        if table.startswith("lake."):
            return TOUCHPOINT_KINDS
        return WHOLE if "controller" in self.columns[table] else ("stranger",)

    def _of(self, kind: str, table: str, column: str) -> list[Change]:
        return [change for change in self._alternatives[table, column] if change.kind == kind]

    @cached_property
    def _alternatives(self) -> dict[tuple[str, str], dict[Change, str]]:
        """The columns of what each column may hold instead, by the change that makes it so."""
        return {
            (table, column): {
                change: self.others.column(table, sql) for change, sql in self._of_column(table, column, sql_type)
            }
            for table, columns in self.columns.items()
            for column, sql_type in columns.items()
        }

    def _renamed(self, table: str, column: str) -> str:
        """The column of the names that somebody renamed has instead."""
        return self.others.column(table, f"twin_token({ident(column)} || twin_copy)")

    def _of_column(self, table: str, column: str, sql_type: str) -> Iterator[tuple[Change, str]]:
        alternatives = Alternatives(self.policy, self.audience, table, self.words)
        for kind in (*self._kinds(table), "field", "stage"):
            changed, moved = alternatives.changed(kind, column, sql_type), alternatives.moved(kind, column)
            if changed is not None:
                yield Change(kind, "changed", table, column), changed
            if moved is not None:
                yield Change(kind, "moved", table, column), moved

    def make(self, twin: World, changes: Collection[Change], people: Collection[int] | None = None) -> None:
        """Fills `twin` of this base, by a connection of its own. `people` narrows the changes to what is theirs."""
        con = twin.con
        twin.origin.use()
        tell_forbidden(con, self.audience)
        if people is not None:
            con.execute("create or replace temp table twin_only (person bigint)")
            con.executemany("insert into twin_only values (?)", [[person] for person in sorted(people)])
        chosen = set(changes)
        for table in staged_tables(self.policy):
            query = self._query(table, chosen, is_narrow=people is not None)
            if query is not None:
                twin.write(table, query)
            elif table not in DERIVED:
                twin.share(table)

    def _query(self, table: str, chosen: set[Change], *, is_narrow: bool) -> str | None:
        """SQL of the table as the twin has it; none where it is the same."""
        if table == KEYS and Change("key", "changed", KEYS, "key") in chosen:
            changed = f"case when purpose = {text(self.audience.purpose)} then key else md5(key) end"
            return f"select purpose, {changed} as key from {quoted(self.base.name, table)}"
        here = {
            c
            for c in chosen
            if c.table == table or (c.done == "renamed" and table in self.columns and self._nodes(table))
        }
        if table == KEYS or not here:
            return None
        columns = self.columns[table]
        judged = self._judged_touchpoints(table) if table.startswith("lake.") else self._judged_records(table)
        within = "twin_person in (select person from twin_only)" if is_narrow else "true"
        removed, added = (_is_of([c.kind for c in here if c.done == done]) for done in _ROWS)
        values = ", ".join(self._value(table, column, here) for column in columns)
        return f"""
            with judged as ({judged}),
            rows as (
                select *, case when {within} then {_BIT} else 0 end as twin_bit, {within} as twin_within from judged
            )
            select {values} from rows
            where case when twin_copy = '' then not (twin_fate = 0 and {removed}) else twin_fate = 2 and {added} end
        """

    def _nodes(self, table: str) -> list[str]:
        return [name for name in NODES if name in self.columns[table]]

    def _value(self, table: str, column: str, here: set[Change]) -> str:
        """The column where it is not changed, else one case for each change. Everything about a copy is another's."""
        cases = []
        if column in NODES:
            for kind in sorted({change.kind for change in here} & set(WHOLE)):
                chosen = "" if Change(kind, "renamed") in here else " and twin_copy <> ''"
                cases.append(f"when {_is_of([kind])}{chosen} then {self._renamed(table, column)}")
        copied = {change.kind for change in here if change.done == "added"}
        grouped: dict[tuple[str, str], list[str]] = {}  # kinds that become the same share a case: each costs planning
        for change, other in self._alternatives[table, column].items():
            if change in here or (change.kind in copied and column not in NODES):
                chosen = "" if change in here else " and twin_copy <> ''"
                grouped.setdefault((other, chosen), []).append(change.kind)
        for (other, chosen), kinds in grouped.items():
            cases.append(f"when ({self._applies(kinds, table, column)}){chosen} then {other}")
        return f"case {' '.join(cases)} else {ident(column)} end as {ident(column)}" if cases else ident(column)

    def _applies(self, kinds: Sequence[str], table: str, column: str) -> str:
        """SQL: is the row of one of the kinds?"""
        conditions = []
        if of_rows := [kind for kind in kinds if kind not in ("field", "stage")]:
            conditions.append(_is_of(of_rows))
        if "field" in kinds:
            conditions.append(f"twin_within and twin_bit = 0 and controller = {text(self.audience.controller)}")
        if "stage" in kinds:
            rules = Alternatives(self.policy, self.audience, table, self.words).rules
            conditions.append(f"twin_within and list_contains(twin_unstaged, {text(rules[column].stage)})")
        return " or ".join(conditions)

    def _judged_touchpoints(self, table: str) -> str:
        place = text(table.partition(".")[2])
        return f"""
            select t.*, f.kind as twin_kind, f.unstaged as twin_unstaged,
                case when f.kind = 'stranger' and t.twin_person >= 0 then t.twin_fate_of_person
                    else t.twin_fate_of_row end as twin_fate
            from {self.others.place_of(table)} as t
            inner join twin_forbidden as f on f.place = {place} and t.twin_row = f.row_id
        """

    def _judged_records(self, table: str) -> str:
        where = (
            "t.controller is distinct from " + text(self.audience.controller)
            if "controller" in self.columns[table]
            else "false"
        )
        return f"""
            select t.*, cast(null as varchar[]) as twin_unstaged,
                case when {where} then 'elsewhere' when s.person is null then 'stranger' end as twin_kind,
                case when {where} or t.twin_person < 0 then t.twin_fate_of_row
                    else t.twin_fate_of_person end as twin_fate
            from {self.others.place_of(table)} as t
            left join twin_records as s on t.twin_person = s.person
                and s.controller = {text(self.audience.controller)} and s.purpose = {text(self.audience.purpose)}
        """


# A bit for each kind: DuckDB makes a join of a longer list of words, and plans each `or`.
_BIT = f"case twin_kind {' '.join(f'when {text(k)} then {1 << n}' for n, k in enumerate(TOUCHPOINT_KINDS))} else 0 end"


def _is_of(kinds: Collection[str]) -> str:
    """SQL: is the row of one of the kinds?"""
    return f"twin_bit & {sum(1 << TOUCHPOINT_KINDS.index(kind) for kind in set(kinds))} > 0"
