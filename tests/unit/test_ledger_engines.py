"""What the two engines must refuse, word and keep under contention; and what a login of the application may do."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from orchestration.consent.chain import GENESIS
from orchestration.consent.database import postgres, sqlite
from orchestration.consent.database.store import writing
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import COLUMNS
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity import private_sqlite
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.settings import LedgerAt
from tests.ledger_places import NOW, REFUSED, Opened, Place, five, grant, make_place
from tests.postgres import LOGIN

WORKERS, APPENDS = 4, 10


def copied(**changes: str) -> str:
    return ", ".join(changes.get(name, name) for name in COLUMNS)


HASH_5 = "(SELECT hash FROM events WHERE seq = 5)"
NEXT_WITH_OLD_KEY = copied(seq="6", prev_hash=HASH_5)
ALTERATIONS = {
    "any": [
        "UPDATE events SET decision = 'grant'",
        "DELETE FROM events WHERE seq = 2",
        "UPDATE details SET payload = payload",
        "INSERT INTO events SELECT * FROM events WHERE seq = 2",
        f"INSERT INTO events SELECT {NEXT_WITH_OLD_KEY} FROM events WHERE seq = 2",
    ],
    "sqlite": [
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 2",
        f"REPLACE INTO events SELECT {NEXT_WITH_OLD_KEY} FROM events WHERE seq = 2",
    ],
    "postgresql": [
        "TRUNCATE events CASCADE",
        "TRUNCATE details",
        "SET session_replication_role = replica; DELETE FROM events WHERE seq = 5",
        "INSERT INTO events SELECT * FROM events WHERE seq = 2 ON CONFLICT (seq) DO UPDATE SET decision = 'grant'",
        "MERGE INTO events e USING events f ON e.seq = f.seq AND e.seq = 2 WHEN MATCHED THEN DELETE",
    ],
}


@pytest.mark.fault("D1", "D5")
def test_alteration_by_sql_is_refused(place: Place, opened: Opened) -> None:
    five(opened)
    before = opened[0].head()
    for statement in ALTERATIONS["any"] + ALTERATIONS[place.engine]:
        with pytest.raises(REFUSED, match=r"append-only|never altered|unique"):
            place.sql(statement)
    assert opened[0].head() == before
    assert opened[0].verify() is None
    assert opened[0].is_append_only


@pytest.mark.fault("D1", "D6")
@pytest.mark.parametrize("seq", [-1, 0, 2, 7, 99])
def test_row_out_of_sequence_is_refused(place: Place, opened: Opened, seq: int) -> None:
    """Even one with a new key and the right predecessor: in place of another, or after a gap."""
    five(opened)
    previous = f"coalesce((SELECT hash FROM events WHERE seq = {seq} - 1), '{GENESIS}')"
    columns = copied(seq=str(seq), event_key="'new'", prev_hash=previous)
    verb = "REPLACE" if place.engine == "sqlite" else "INSERT"
    with pytest.raises(REFUSED, match=r"append-only|unique"):
        place.sql(f"{verb} INTO events SELECT {columns} FROM events WHERE seq = 2")
    assert opened[0].verify() is None


@pytest.mark.fault("D6")
@pytest.mark.parametrize(("seq", "previous"), [("7", HASH_5), ("8", "'1'"), ("6", "'1'"), ("6", HASH_5), ("7", "'1'")])
def test_fork_within_one_statement_is_refused(place: Place, opened: Opened, seq: str, previous: str) -> None:
    """Two rows at once, the first of them right. The last case is the control: both are."""
    five(opened)
    first = copied(seq="6", event_key="'k1'", prev_hash=HASH_5, hash="'1'")
    second = copied(seq=seq, event_key="'k2'", prev_hash=previous, hash="'2'")
    both = " UNION ALL ".join(f"SELECT {row} FROM events WHERE seq = 2" for row in (first, second))
    if (seq, previous) == ("7", "'1'"):
        place.sql(f"INSERT INTO events {both}")
        assert opened[0].head() == (7, "2")
        return
    with pytest.raises(REFUSED, match=r"append-only|unique"):
        place.sql(f"INSERT INTO events {both}")
    assert opened[0].head()[0] == 5


WEAKENED = {
    "sqlite": [
        (
            "DROP TRIGGER events_refuse_fork",
            "CREATE TRIGGER events_refuse_fork BEFORE INSERT ON events BEGIN SELECT 1; END",
        ),
        ("DROP TRIGGER events_refuse_delete",),
    ],
    "postgresql": [
        ("ALTER TABLE events ENABLE REPLICA TRIGGER events_refuse_change",),
        ("ALTER TABLE events ENABLE TRIGGER events_refuse_change",),
        ("ALTER TABLE details DISABLE TRIGGER details_refuse_change",),
        ("DROP TRIGGER events_refuse_fork ON events",),
        ("ALTER FUNCTION assent_refuse_fork() RESET search_path",),
        (
            "CREATE OR REPLACE FUNCTION assent_refuse_change() RETURNS trigger LANGUAGE plpgsql "
            "SET search_path = public, pg_temp AS 'BEGIN RETURN NULL; END'",
        ),
        (f"GRANT DELETE ON events TO {postgres.APP}",),
        (f"GRANT UPDATE (decision) ON events TO {postgres.APP}",),
        (f"GRANT TRIGGER ON details TO {postgres.APP}",),
        (f"ALTER TABLE details OWNER TO {LOGIN}",),
    ],
}


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    ("place", "statements"),
    [(engine, statements) for engine, cases in WEAKENED.items() for statements in cases],
    indirect=["place"],
)
def test_what_would_let_records_be_altered_is_told(place: Place, opened: Opened, statements: tuple[str, ...]) -> None:
    five(opened)
    assert opened[0].append_only_gap is None
    assert place.verdicts() == {"hash chain": True, "append-only": True}
    place.sql(*statements)
    assert opened[0].append_only_gap
    assert place.verdicts() == {"hash chain": True, "append-only": False}


@pytest.fixture
def on_postgres(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = make_place("postgresql", tmp_path, request)
    with open_ledger(place.home, Keys.open(place.home), place.at) as opened:
        five(opened)
    yield place


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET decision = 'grant'",
        "DELETE FROM events",
        "DELETE FROM details",
        "TRUNCATE events CASCADE",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "ALTER TABLE events ADD COLUMN note text",
        "ALTER TABLE events OWNER TO ledger_app",
        "DROP TRIGGER events_refuse_change ON events",
        "DROP FUNCTION assent_refuse_fork() CASCADE",
        "CREATE OR REPLACE FUNCTION assent_refuse_fork() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER other BEFORE INSERT ON events EXECUTE FUNCTION assent_refuse_change()",
        "CREATE RULE other AS ON INSERT TO events DO INSTEAD NOTHING",
        "DROP TABLE details",
        "DROP INDEX events_by_subject",
        "UPDATE alembic_version SET version_num = '0000'",
        "SET session_replication_role = replica",
        "SET ROLE ledger_owner",
        "GRANT ledger_owner TO ledger_app",
    ],
)
def test_application_login_may_only_append_and_read(on_postgres: Place, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        on_postgres.sql(statement, user=LOGIN)
    assert on_postgres.sql("SELECT count(*) FROM events", user=LOGIN) == [(5,)]


@pytest.mark.fault("D5", "D6")
def test_temporary_table_does_not_deceive_the_trigger(on_postgres: Place) -> None:
    """One that a login may make, and in which a row after a gap would fit."""
    eight, nine = copied(seq="8", hash="'8'"), copied(seq="9", event_key="'new'", prev_hash="'8'")
    one = "FROM public.events WHERE seq = 2"
    shadow = "CREATE TEMP TABLE events AS SELECT * FROM public.events WHERE false"
    fill = f"INSERT INTO pg_temp.events SELECT {eight} {one} UNION ALL SELECT {nine} {one}"
    with pytest.raises(REFUSED, match="append-only"):
        on_postgres.sql(shadow, fill, f"INSERT INTO public.events SELECT {nine} {one}", user=LOGIN)


def test_eraser_may_delete_details_and_nothing_else(on_postgres: Place) -> None:
    eraser = "ledger_eraser_login"
    on_postgres.sql(f"CREATE ROLE {eraser} LOGIN IN ROLE {postgres.ERASER}")
    try:
        on_postgres.sql("DELETE FROM details WHERE seq = 2", user=eraser)
        for refused in ("DELETE FROM events", "UPDATE details SET payload = payload", "TRUNCATE details"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                on_postgres.sql(refused, user=eraser)
    finally:
        on_postgres.sql(f"DROP ROLE {eraser}")
    with open_ledger(on_postgres.home, Keys.open(on_postgres.home), on_postgres.at) as (ledger, _):
        assert ledger.verify() is None


def test_owner_may_alter_and_that_is_told(on_postgres: Place) -> None:
    ledger = Ledger.open(on_postgres.owner_url)
    assert "member of assent_app only" in str(ledger.append_only_gap)
    ledger.close()


@pytest.mark.fault("D6")
def test_threads_never_fork_the_chain(place: Place) -> None:
    keys = Keys.open(place.home)
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            _append_one_by_one(place.home.root, place.at.url, name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("x", "y", "z")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with open_ledger(place.home, keys, place.at) as (ledger, _):
        assert ledger.head()[0] == 3 * APPENDS
        assert ledger.verify() is None


@pytest.mark.fault("D6")
def test_processes_never_fork_the_chain_and_lose_nothing(place: Place) -> None:
    """On a ledger that is not there yet: on SQLite they also race to make it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        jobs = [pool.submit(_append_one_by_one, place.home.root, place.at.url, f"p{n}") for n in range(WORKERS)]
        for job in jobs:
            job.result(60)
    with open_ledger(place.home, Keys.open(place.home), place.at) as (ledger, registry):
        ref = registry.lookup("a" * 32)
        kept = {row["detail"].event_id for row in ledger.subject_rows([ref or ""])}
        assert kept == {f"p{n}.{i}" for n in range(WORKERS) for i in range(APPENDS)}
        assert ledger.head()[0] == WORKERS * APPENDS
        assert ledger.verify() is None


def _append_one_by_one(root: Path, url: str | None, name: str) -> None:
    home = Home.open(root)
    with open_ledger(home, Keys.open(home), LedgerAt(url)) as (ledger, _):
        for i in range(APPENDS):
            ledger.append([grant(f"{name}.{i}")], NOW)


def test_commit_waits_for_the_disk_where_the_server_does_not(on_postgres: Place) -> None:
    asked = text("SHOW synchronous_commit")
    for setting, written in (("off", "local"), ("remote_apply", "remote_apply")):
        on_postgres.sql(f"ALTER DATABASE {on_postgres.database} SET synchronous_commit = {setting}")
        with closing(Ledger.open(on_postgres.at.url or "")) as ledger:
            with writing(ledger.engine) as connection:
                assert connection.execute(asked).scalar_one() == written
            with ledger.reading() as connection:
                assert connection.execute(asked).scalar_one() == setting


@pytest.mark.fault("D6")
def test_waiting_for_another_writer_has_an_end(place: Place, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    five(opened)
    monkeypatch.setattr(sqlite, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(postgres, "WAIT_SECONDS", 0.05)
    with open_ledger(place.home, Keys.open(place.home), place.at) as (second, _):
        with writing(opened[0]._engine):
            assert second.head()[0] == 5, "a reader does not wait"
            with pytest.raises(HomeError, match="another process is writing") as raised:
                second.append([grant("late")], NOW)
        assert raised.value.__suppress_context__
        assert second.append([grant("later")], NOW).appended == 1


def test_waiting_for_the_registry_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.open(tmp_path / "home", demo_seed=1)
    monkeypatch.setattr(private_sqlite, "WAIT_SECONDS", 0.05)
    row = ("a" * 32, "phone", "e164")
    with SubjectRegistry(home, Keys.open(home)) as registry, closing(sqlite3.connect(home.keys_db)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HomeError, match="another process is writing") as raised:
            registry.refs([row])
        assert raised.value.where == "keys.sqlite"
        other.rollback()
        other.execute("BEGIN")
        other.execute("SELECT * FROM subjects").fetchall()  # a reader, for which a commit waits
        with pytest.raises(HomeError, match="another process is writing"):
            registry.refs([row])
        other.rollback()
        assert registry.lookup(row[0]) is None, "it was not half written"
        assert registry.refs([row])


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://user:secret@db/ledger",
        "postgresql+psycopg2://user:secret@db/ledger",
        "postgresql+asyncpg://user:secret@db/ledger",
        "sqlite://",
        "sqlite:///:memory:?secret",
        "secret",
    ],
)
def test_engines_without_triggers_are_refused_without_naming_the_url(url: str) -> None:
    with pytest.raises(HomeError) as raised:
        Ledger.open(url)
    assert "secret" not in str(raised.value)


@pytest.mark.fault("D10")
def test_errors_of_the_database_name_neither_host_nor_login() -> None:
    url = "postgresql://hidden-user:hidden-word@127.0.0.1:1/hidden-name"
    with pytest.raises(HomeError, match="cannot be used") as raised:
        Ledger.open(url)
    shown = "".join(traceback.format_exception(raised.value))
    assert not any(part in shown for part in ("hidden", "127.0.0.1"))
