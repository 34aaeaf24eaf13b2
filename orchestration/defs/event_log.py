"""Dagster's event log for a run in this process: its own SQLite files, through connections that are kept.

Dagster opens a database for every event and closes it, which compiles each statement anew and writes the log back to
the file: a third of the seconds of a small run. Not here: what is in the log. UI and daemon read the same files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as db
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData


class HeldEventLog(SqliteEventLogStorage):
    """One engine per database, until `dispose`. Dagster is pinned to the patch, so its private parts hold still."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, db.Engine] = {}
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> HeldEventLog:
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[db.Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def has_table(self, table_name: str) -> bool:
        """A table that was there stays there."""
        if table_name not in self._tables and db.inspect(self._engine(INDEX_SHARD_NAME)).has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def dispose(self) -> None:
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()

    def _engine(self, shard: str) -> db.Engine:
        if shard not in self._engines:
            timeout = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
            engine = db.create_engine(self.conn_string_for_shard(shard), pool_size=1, connect_args=timeout)
            db.event.listen(engine, "connect", _relax)
            self._engines[shard] = engine
        return self._engines[shard]


def _relax(connection: Any, _: object) -> None:
    """With a write-ahead log this loses at most the last events to a power cut, and never damages the file."""
    connection.execute("PRAGMA synchronous = NORMAL")
