"""The revisions of the ledger's database: what they make, what is refused at opening, and a crash halfway."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import Engine

from orchestration.cli import root as assent
from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.database.migrate import SCRIPTS, downgrade, migrate
from orchestration.consent.database.migrations import NEWEST, REVISIONS
from orchestration.consent.database.store import make_engine, reading, writing
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import METADATA
from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.settings import Settings, child_environment
from tests.ledger_places import ENGINES, NOW, Place, grant


@pytest.fixture(params=ENGINES)
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place with nothing in it yet, in a home that has its registry of subjects."""
    home = Home.open(tmp_path / "home", demo_seed=1)
    SubjectRegistry(home, Keys.open(home)).close()
    if request.param == "sqlite":
        return Place(home)
    server = request.getfixturevalue("postgres_server")
    return Place(home, server, server.database())


@contextmanager
def engine_of(place: Place) -> Iterator[Engine]:
    engine = make_engine(place.owner_url)
    try:
        yield engine
    finally:
        engine.dispose()


def at_first_revision(place: Place) -> None:
    """A ledger of five records, as the first version would have left it."""
    keys = Keys.open(place.home)
    with engine_of(place) as engine, SubjectRegistry(place.home, keys) as registry:
        migrate(engine, "0001")
        Ledger(engine, registry, keys, Anchor(place.home, keys)).append([grant(f"e{i}") for i in range(5)], NOW)


def test_revisions_are_those_of_the_scripts() -> None:
    scripts = ScriptDirectory(str(SCRIPTS))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS


def test_migrations_make_the_tables_of_the_models(bare: Place) -> None:
    with engine_of(bare) as engine:
        assert migrate(engine) == (None, NEWEST)
        assert migrate(engine) == (NEWEST, NEWEST)
        with reading(engine) as connection:
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_downgrade_never_deletes_records(bare: Place) -> None:
    at_first_revision(bare)
    with engine_of(bare) as engine:
        with pytest.raises(HomeError, match="holds records"), writing(engine) as connection:
            downgrade(connection, "base")
        assert bare.sql("SELECT count(*) FROM events") == [(5,)]


def test_downgrade_of_an_empty_ledger_leaves_nothing(bare: Place) -> None:
    with engine_of(bare) as engine:
        migrate(engine)
        with writing(engine) as connection:
            downgrade(connection, "base")
        assert bare.sql("SELECT count(*) FROM alembic_version") == [(0,)]
        assert migrate(engine) == (None, NEWEST)


def test_older_revision_is_refused_until_it_is_migrated(bare: Place) -> None:
    at_first_revision(bare)
    with pytest.raises(HomeError, match="assent ledger migrate"):
        Ledger.open(bare.at.url or bare.home.ledger_db)
    assert _migrated(bare) == {"engine": bare.engine, "before": "0001", "revision": NEWEST}
    with open_ledger(bare.home, Keys.open(bare.home), bare.at) as (ledger, _):
        assert (ledger.head()[0], ledger.verify(), ledger.append_only_gap) == (5, None, None)


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = '9999'", "DELETE FROM alembic_version",
                                       "INSERT INTO alembic_version VALUES ('0001')"])  # fmt: skip
def test_unknown_revision_is_refused(bare: Place, statement: str) -> None:
    with engine_of(bare) as engine:
        migrate(engine)
        bare.sql(statement)
        with pytest.raises(HomeError, match=r"does not know|no revision"):
            migrate(engine)
    with pytest.raises(HomeError, match=r"does not know|no revision"):
        Ledger.open(bare.owner_url)


def test_events_of_another_program_are_left_alone(bare: Place) -> None:
    bare.sql("CREATE TABLE events (note varchar)", "INSERT INTO events VALUES ('theirs')")
    with pytest.raises(HomeError, match="no revision"):
        Ledger.open(bare.owner_url)
    with engine_of(bare) as engine, pytest.raises(HomeError, match="no revision"):
        migrate(engine)
    assert bare.sql("SELECT * FROM events") == [("theirs",)]


def test_postgresql_is_never_migrated_by_opening_it(postgres_url: str) -> None:
    with pytest.raises(HomeError, match="ASSENT_LEDGER_OWNER_URL"):
        Ledger.open(postgres_url)
    engine = make_engine(postgres_url)
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT to_regclass('events')").scalar_one() is None
    engine.dispose()


@pytest.mark.fault("A11")
@pytest.mark.parametrize("from_revision", [None, "0001"])
def test_migration_killed_halfway_is_done_again(bare: Place, from_revision: str | None) -> None:
    """Killed after the last statement, before the commit."""
    if from_revision is not None:
        at_first_revision(bare)
    process = multiprocessing.get_context("spawn").Process(target=_migrate_and_die, args=(bare.owner_url,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with engine_of(bare) as engine:
        assert migrate(engine) == (from_revision, NEWEST)
    with open_ledger(bare.home, Keys.open(bare.home), bare.at) as (ledger, _):
        assert (ledger.verify(), ledger.append_only_gap) == (None, None)
        assert ledger.append([grant("after")], NOW).appended == 1
        assert ledger.head()[0] == (1 if from_revision is None else 6)


@pytest.mark.fault("A11")
def test_migration_that_fails_halfway_changes_nothing(bare: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    at_first_revision(bare)
    with engine_of(bare) as engine, monkeypatch.context() as patched:
        patched.setattr(op, "create_index", lambda *_, **__: op.execute("no such statement"))
        with pytest.raises(HomeError, match="cannot be used"):
            migrate(engine)
    assert bare.sql("SELECT version_num FROM alembic_version") == [("0001",)]
    assert _migrated(bare)["revision"] == NEWEST


def _migrate_and_die(url: str) -> None:
    create_index = op.create_index

    def die(name: str, *rest: object, **more: object) -> None:
        create_index(name, *rest, **more)
        if name == "events_of_feeds":
            os.kill(os.getpid(), signal.SIGKILL)

    op.create_index = die  # type: ignore[assignment]
    migrate(make_engine(url))


def _invoke(place: Place, *command: str, **changes: str | None) -> str:
    settings = Settings(home=place.home.root, ledger_url=place.at.url, **changes)
    done = CliRunner().invoke(assent, ["ledger", *command, "--json"], obj=settings)
    if done.exception is not None:
        raise done.exception
    return done.output


def _migrated(place: Place) -> dict[str, str]:
    owner = None if place.server is None else place.owner_url
    found: dict[str, str] = json.loads(_invoke(place, "migrate", ledger_owner_url=owner))
    return found


def test_command_head_tells_what_the_database_is(place: Place) -> None:
    if place.engine == "sqlite":
        Ledger.open(place.home.ledger_db).close()
    found = json.loads(_invoke(place, "head"))
    assert (found["engine"], found["revision"], found["seq"]) == (place.engine, NEWEST, 0)
    assert (found["is_append_only"], found["append_only_gap"]) == (True, None)


def test_commands_do_not_make_the_ledger_of_a_home(tmp_path: Path) -> None:
    """One without a registry of subjects would be taken for a home that lost it."""
    home = Home.open(tmp_path / "home", demo_seed=1)
    for command in ("head", "migrate"):
        with pytest.raises(HomeError, match="no ledger"):
            _invoke(Place(home), command)
    assert not home.ledger_db.exists()


def test_migrating_needs_the_owner(bare: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner without a ledger is a mistake; on PostgreSQL the application's login may not make tables."""
    settings = Settings(home=bare.home.root, ledger_owner_url="postgresql://owner:word@db/ledger")
    done = CliRunner().invoke(assent, ["ledger", "migrate"], obj=settings)
    assert isinstance(done.exception, AssentError)
    assert "word@" not in str(done.exception)
    if bare.engine == "postgresql":
        with pytest.raises(HomeError, match="InsufficientPrivilege"):
            _invoke(bare, "migrate")
    monkeypatch.setenv("ASSENT_LEDGER_OWNER_URL", "postgresql://owner:word@db/ledger")
    assert "ASSENT_LEDGER_OWNER_URL" not in child_environment()
