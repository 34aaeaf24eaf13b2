"""Reads a company's own consent table onward from where the last read ended. It never writes there.

Not here: what its columns mean (`table_rows.py`), whether a row may be believed (`judge.py`). What was deleted there is
not seen: a withdrawal is a row, or a changed one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from sqlalchemy import URL, ColumnClause, Connection, Select, column, create_engine, inspect, make_url, or_, select
from sqlalchemy import table as table_clause
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from orchestration.consent.feeds.judge import Judge
from orchestration.consent.feeds.judged import Judged, judge_rows
from orchestration.consent.feeds.table_cursor import Position, Scale, read_bookmark, write_bookmark
from orchestration.consent.feeds.table_rows import Mapping, TableRow
from orchestration.consent.ledger import Ledger
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.ingestion.refusal import Refused
from orchestration.policy.schema import ConsentFeed
from orchestration.settings import source_url

ROWS_PER_BATCH = 10_000
# What the meaning of a bookmark depends on: codes that were unknown before are read again from the beginning.
MAPPING = ("controllers", "table", "columns", "constants", "values", "cursor", "zone")


class TableFeed:
    """One read of a feed's table. Append every batch, then `finish`.

    Raises Refused; nothing of the database's own message is kept, since drivers quote values and URLs."""

    def __init__(
        self, home: Home, feed: ConsentFeed, ledger: Ledger, keyed_hash: Callable[[str], str], now: datetime
    ) -> None:
        if home.info.kind == "demo":
            raise HomeError(
                "a demo home reads no company's tables: its keys come from its seed",
                where=str(home.root),
                remedy="Use another --home for real data",
            )
        self._home, self._feed, self._ledger, self._now = home, feed, ledger, now
        zone = None if feed.zone is None else ZoneInfo(feed.zone)
        self._scale = None if feed.cursor is None else Scale(feed.cursor, zone)
        self._mapping = Mapping(feed, zone)
        self._url = source_url(feed.url_env or "")
        self._origin = keyed_hash(f"{_place(self._url)}|{feed.model_dump_json(include=set(MAPPING))}")
        self._seen: Position | None = None
        self._held: Position | None = None
        self._row_no = 0

    def judged(self, judge: Judge) -> Iterator[Judged]:
        """The batches as judged. What may restrict somebody unknown is held."""
        for rows in self.batches():
            judged = judge_rows(rows, judge)
            if judged.is_blind:
                self.hold(row for row in rows if judge.judge(row).is_blind)
            yield judged

    def batches(self) -> Iterator[list[TableRow]]:
        """What is new, and the overlap. A table that ends before the bookmark, or writes its cursor in another way, is
        another one or an older copy, and read from its beginning. Without any row it is refused."""
        start = None
        if self._scale is not None:
            start = read_bookmark(self._home, self._feed.name, self._origin, self._ledger)
        yield from self._read(start)
        if start is not None and not self._reaches(start):
            yield from self._read(None)
        if self._row_no == 0:
            raise Refused("empty")

    def _reaches(self, start: Position) -> bool:
        return self._seen is not None and self._seen.form == start.form and self._seen.value >= start.value

    def hold(self, rows: Iterable[TableRow]) -> None:
        """Keeps rows in reach that cannot be read: they are seen again until they are corrected in the source."""
        positions = [row.position for row in rows if row.position is not None]
        if positions:
            self._held = min([*positions, *([self._held] if self._held else [])], key=lambda position: position.value)

    def finish(self) -> None:
        """Call it when the ledger holds every row, and says whether the feed is complete."""
        position = self._held or self._seen
        if position is not None:
            capped = position.capped(self._now)
            write_bookmark(self._home, self._feed.name, self._origin, self._ledger, capped)

    def _read(self, start: Position | None) -> Iterator[list[TableRow]]:
        self._seen = None
        try:
            with _connected(self._url) as connection:
                rows = connection.execution_options(yield_per=ROWS_PER_BATCH).execute(self._query(connection, start))
                for part in rows.partitions():
                    yield [self._row(values) for values in part]
                return
        except (SQLAlchemyError, ImportError, OSError, ValueError):  # ValueError: a URL with a port that is no number
            pass
        raise Refused("unreadable")

    def _query(self, connection: Connection, start: Position | None) -> Select[Any]:
        """Names are those of the database itself, quoted by SQLAlchemy; in no order: the bookmark moves at the end."""
        schema, _, name = (self._feed.table or "").rpartition(".")
        there = {found["name"] for found in inspect(connection).get_columns(name, schema=schema or None)}
        if not there.issuperset(self._mapping.columns):
            raise Refused("missing_column")
        columns: list[ColumnClause[Any]] = [column(name) for name in self._mapping.columns]
        query = select(*table_clause(name, *columns, schema=schema or None).columns)
        if self._scale is None or start is None:
            return query
        cursor = query.selected_columns[self._scale.cursor.column]
        return query.where(or_(cursor >= self._scale.bound(start), cursor.is_(None)))

    def _row(self, values: Sequence[Any]) -> TableRow:
        self._row_no += 1
        row = self._mapping.row(self._row_no, values)
        found = None if self._mapping.cursor is None else values[self._mapping.cursor]
        if self._scale is not None and found is not None:
            row.position = self._scale.position(found)
            self._pass(row.position)
        return row

    def _pass(self, position: Position) -> None:
        if self._seen is not None and self._seen.form != position.form:
            raise Refused("contract_broken")  # times that are written in several ways are in no order
        if self._seen is None or self._seen.value < position.value:
            self._seen = position


def _place(url: str) -> str:
    """Which database it is, whoever reads it: a new password changes nothing."""
    try:
        return make_url(url).set(username=None, password=None).render_as_string(hide_password=False)
    except (SQLAlchemyError, ValueError):
        return ""  # reading it is refused


@contextmanager
def _connected(text: str) -> Iterator[Connection]:
    """A connection that reads only, where the engine can promise it."""
    engine = create_engine(_read_only(make_url(text)), hide_parameters=True, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection.execution_options(postgresql_readonly=True)
    finally:
        engine.dispose()


def _read_only(url: URL) -> URL:
    """SQLite would make a file that is not there, and lock one that is."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith((":", "file:")):
        return url
    path = quote(str(Path(url.database).absolute()))
    return url.set(database=f"file:{path}").update_query_dict({"mode": "ro", "uri": "true"})
