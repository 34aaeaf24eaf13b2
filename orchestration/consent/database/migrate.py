"""Which revision a ledger's database has, and the way to the newest. Not here: what a revision does (`migrations/`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from orchestration.consent.database.migrations import NEWEST, REVISIONS
from orchestration.consent.database.store import WHERE, make_engine, reading, writing
from orchestration.errors import HomeError

SCRIPTS = Path(__file__).parent / "migrations"
OWNER_REMEDY = "Run `assent ledger migrate`, on PostgreSQL with ASSENT_LEDGER_OWNER_URL as the owner of the tables"


def open_engine(at: str | Path) -> Engine:
    """The engine of a ledger at the newest revision. A new SQLite file becomes one; nothing else is ever altered here:
    a database of another revision, or without one, is refused (HomeError)."""
    engine = make_engine(at)
    try:
        with reading(engine) as connection:
            found = revision(connection)
        if found is None and engine.dialect.name == "sqlite":
            found = migrate(engine)[1]
        _require_newest(found)
    except BaseException:
        engine.dispose()
        raise
    return engine


def migrate(engine: Engine, to: str = NEWEST) -> tuple[str | None, str]:
    """Brings the database to revision `to`, in one transaction: all of it or nothing. Returns the revisions before and
    after. Reading it again with the writers' lock held makes two processes that both find a new file one after another.
    """
    with writing(engine) as connection:
        before = revision(connection)
        if before is not None and REVISIONS.index(before) >= REVISIONS.index(to):
            return before, before
        upgrade(connection, to)
        return before, to


def revision(connection: Connection) -> str | None:
    """The revision of the database; None where nothing is in it. Raises HomeError where that cannot be told."""
    known = inspect(connection)
    found: Sequence[str] = ()
    if known.has_table("alembic_version"):
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    if len(found) == 1 and found[0] in REVISIONS:
        return found[0]
    if found:
        raise HomeError(
            "its database is of a revision that this Assent does not know",
            where=WHERE,
            remedy="It was written by a newer one: install that, or give another database",
        )
    if known.has_table("events"):
        raise HomeError(
            "its database has a table `events` but no revision: another program's, or of an Assent before revisions",
            where=WHERE,
            remedy="Move it aside and import the feeds again, or give another database",
        )
    return None


def upgrade(connection: Connection, to: str) -> None:
    _alembic(connection, "upgrade", to)


def downgrade(connection: Connection, to: str) -> None:
    """Back to revision `to`, or to nothing for "base". Refused where that would delete records."""
    _alembic(connection, "downgrade", to)


def _alembic(connection: Connection, direction: str, to: str) -> None:
    from alembic import command  # half a second to import, which only a migration waits for
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    getattr(command, direction)(config, to)


def _require_newest(found: str | None) -> None:
    if found is None:
        raise HomeError("its database holds no ledger yet", where=WHERE, remedy=OWNER_REMEDY)
    if found != NEWEST:
        raise HomeError(
            f"its database is of revision {found}, and this Assent needs {NEWEST}",
            where=WHERE,
            remedy=f"{OWNER_REMEDY}; that alters no record",
        )
