"""What each row of the base may hold instead, worked out once: every twin chooses among it.

Not here: which alternatives there are (`alternatives.py`), and which a twin chooses (`changes.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestration.ingestion.quoting import ident, text
from orchestration.proof.twins.alternatives import WHAT
from orchestration.proof.twins.cast import REMOVED, ROWS_REMOVED, pool_of
from orchestration.proof.twins.sample import NODES
from orchestration.proof.twins.world import World, quoted


@dataclass(frozen=True)
class Others:
    """Beside each table with rows about people, one that holds its rows, and those of which a twin may have a second
    (`twin_copy`), with a column for each alternative that any audience asks for."""

    base: World
    found: dict[str, dict[str, str]] = field(default_factory=dict)  # table → SQL of an alternative → its column
    made: set[str] = field(default_factory=set)

    def column(self, table: str, alternative: str) -> str:
        """The column that holds the alternative, once they are made; to be asked for before."""
        known = self.found.setdefault(table, {})
        return known.setdefault(alternative, f"twin_other_{len(known)}")

    def make(self, base: World) -> None:
        """Works out whatever was asked for, once. `base`: the same, by a connection that nothing else uses now."""
        base.use()
        for table in self.found.keys() - self.made:
            base.con.execute(f"create or replace table {self.place_of(table)} as {self._query(base, table)}")
            self.made.add(table)

    def place_of(self, table: str) -> str:
        """The table beside this one, as SQL."""
        return f"{ident(self.base.name)}.main.{ident(f'twin_others {table}')}"

    def _query(self, base: World, table: str) -> str:
        schema, _, name = table.partition(".")
        pool = f", {pool_of(name)} as pool" if schema == "lake" else ""
        node = next(node for node in NODES if node in base.columns(table))
        values = "".join(f", {alternative} as {column}" for alternative, column in self.found[table].items())
        return f"""
            with named as (
                select t.*, t.rowid as twin_row, coalesce(p.person, -1) as twin_person,
                    twin_fate(coalesce(p.person, -1)::varchar, {REMOVED}) as twin_fate_of_person,
                    twin_fate({text(table.removeprefix("lake."))} || t.rowid, {ROWS_REMOVED}) as twin_fate_of_row,
                    {text(table)} || t.rowid as {WHAT}, '' as twin_copy
                from {quoted(base.name, table)} as t left join twin_people as p on t.{node} = p.token
            ),
            copied as (
                select * from named
                union all
                select * replace ({WHAT} || '+' as {WHAT}, '+' as twin_copy) from named
                where 2 in (twin_fate_of_person, twin_fate_of_row)
            )
            select t.*{values} from copied as t{pool}
        """
