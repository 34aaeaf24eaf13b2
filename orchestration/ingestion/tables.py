"""Copies a whole database table into a verified CSV, so that a table feed is read like any other file."""

from __future__ import annotations

import csv
import os
import secrets
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, Table, create_engine, select
from sqlalchemy.exc import SQLAlchemyError

from orchestration.ingestion.parsed import known_columns
from orchestration.ingestion.refusal import Limits, Refused
from orchestration.policy.schema import Feed
from orchestration.settings import source_url

ROWS_PER_FETCH = 10_000


def dump_table(feed: Feed, tmp: Path) -> Path:
    """A CSV of the feed's table in `tmp`, rows in a fixed order, values as text. The caller unlinks it. Raises Refused;
    nothing of the database's own message is kept, since drivers quote values and URLs.

    A column that policy does not name is never asked for: it stands there empty, to be counted."""
    target = tmp / f"table-{secrets.token_hex(8)}.csv"
    done = False
    try:
        _dump(feed, target)
        done = True
    except (SQLAlchemyError, ImportError):
        pass
    finally:
        if not done:
            target.unlink(missing_ok=True)
    if not done:
        raise Refused("unreadable")
    return target


def _dump(feed: Feed, target: Path) -> None:
    schema, _, name = (feed.table or "").rpartition(".")
    engine = create_engine(source_url(feed.url_env or ""), hide_parameters=True)
    try:
        table = Table(name, MetaData(), schema=schema or None, autoload_with=engine)
        known = [column for column in table.columns if column.name in known_columns(feed)]
        others = len(table.columns) - len(known)
        query = select(*known).order_by(*known)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with engine.connect() as connection, os.fdopen(descriptor, "w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, delimiter=feed.delimiter, lineterminator="\n")
            writer.writerow([*(column.name for column in known), *(f"dropped_{n}" for n in range(others))])
            rows = connection.execution_options(yield_per=ROWS_PER_FETCH).execute(query)
            for part in rows.partitions():
                writer.writerows([*map(_text, row), *[""] * others] for row in part)
                if out.tell() > Limits.of(feed).max_bytes:
                    raise Refused("bomb")
    finally:
        engine.dispose()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat(sep=" ") if hasattr(value, "isoformat") and hasattr(value, "hour") else str(value)
