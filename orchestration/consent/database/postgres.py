"""The ledger on PostgreSQL: its engine, triggers and roles, and its forms of a few statements.

Not here: transactions and what both engines share (`store.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from orchestration.consent.chain import GENESIS
from orchestration.consent.models import COLUMNS
from orchestration.errors import HomeError

READ_CHUNK = 20_000
WAIT_SECONDS = 30  # for another writer
CONNECT_SECONDS = 10
WRITERS = 0x_A55E_17  # the advisory lock that every writer of this database takes
DURABLE = "SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'"
APP, ERASER = "assent_app", "assent_eraser"  # group roles: what appends and reads; what may erase details

REFUSE_CHANGE = """
BEGIN
    RAISE EXCEPTION '%', CASE TG_TABLE_NAME
        WHEN 'details' THEN 'details are never altered' ELSE 'the ledger is append-only' END;
END
"""
# Once per statement, over all that it added: per row it would double the time of a bulk append.
REFUSE_FORK = f"""
DECLARE
    first_seq bigint; last_seq bigint; total bigint; is_broken boolean;
BEGIN
    SELECT min(seq), max(seq), count(*) INTO first_seq, last_seq, total FROM added;
    SELECT bool_or(prev_hash IS DISTINCT FROM before) INTO is_broken FROM (
        SELECT prev_hash, lag(hash, 1, coalesce(
            (SELECT hash::text FROM events WHERE seq = first_seq - 1), '{GENESIS}'
        )::varchar) OVER (ORDER BY seq) AS before FROM added
    ) AS linked;
    IF is_broken
        OR last_seq - first_seq + 1 <> total
        OR last_seq <> (SELECT max(seq) FROM events)
        OR first_seq <> coalesce((SELECT max(seq) FROM events WHERE seq < first_seq), 0) + 1
    THEN
        RAISE EXCEPTION 'the ledger is append-only';
    END IF;
    RETURN NULL;
END
"""
FUNCTIONS = {"assent_refuse_change": REFUSE_CHANGE, "assent_refuse_fork": REFUSE_FORK}
# As PostgreSQL itself words them.
TRIGGERS = {
    "events_refuse_change": "BEFORE DELETE OR UPDATE OR TRUNCATE ON events "
    "FOR EACH STATEMENT EXECUTE FUNCTION assent_refuse_change()",
    "events_refuse_fork": "AFTER INSERT ON events REFERENCING NEW TABLE AS added "
    "FOR EACH STATEMENT EXECUTE FUNCTION assent_refuse_fork()",
    "details_refuse_change": "BEFORE UPDATE OR TRUNCATE ON details "
    "FOR EACH STATEMENT EXECUTE FUNCTION assent_refuse_change()",
}
FOUND_TRIGGERS = """
    SELECT t.tgname, t.tgenabled = 'A', pg_get_triggerdef(t.oid, true), p.prosrc,
           p.proconfig IS NOT DISTINCT FROM ARRAY['search_path=' || quote_ident(current_schema()) || ', pg_temp']
    FROM pg_trigger AS t INNER JOIN pg_proc AS p ON p.oid = t.tgfoid
    WHERE t.tgrelid IN ('events'::regclass, 'details'::regclass)
"""
# Whatever this login could become by SET ROLE counts, ownership and superuser among it.
MAY_ALTER = """
    SELECT coalesce(bool_or(
        r.rolcreaterole
        OR has_table_privilege(r.oid, 'events'::regclass, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
        OR has_table_privilege(r.oid, 'details'::regclass, 'UPDATE, TRUNCATE, TRIGGER')
        OR has_any_column_privilege(r.oid, 'events'::regclass, 'UPDATE')
        OR has_any_column_privilege(r.oid, 'details'::regclass, 'UPDATE')
    ), true) FROM pg_roles AS r WHERE pg_has_role(session_user, r.oid, 'MEMBER')
"""


def make_engine(url: URL) -> Engine:
    settings = {"connect_timeout": CONNECT_SECONDS, "application_name": "assent", "client_encoding": "utf8"}
    engine = create_engine(url, hide_parameters=True, connect_args=settings)
    event.listen(engine, "begin", begin)
    return engine


def begin(connection: Connection) -> None:
    """Writers wait for each other before they read the head, and read committed, so that the head that they read is
    that of the writer before them (fault D6). What they commit is on disk, also where the server is set not to wait:
    the anchor signs it next. Readers see one state of the ledger throughout."""
    if connection.get_execution_options().get("is_writer", False):
        connection.exec_driver_sql(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; "
            f"SET LOCAL lock_timeout = {round(WAIT_SECONDS * 1000)}; {DURABLE}; SELECT pg_advisory_xact_lock({WRITERS})"
        )
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def install_guards(connection: Connection) -> None:
    """The functions, with a search path on which no temporary table goes first, and the triggers, which fire whatever
    the session's replication role."""
    schema = _schema(connection)
    for name, body in FUNCTIONS.items():
        connection.exec_driver_sql(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
            f"SET search_path = {schema}, pg_temp AS $body${body}$body$".replace("%", "%%")
        )
    for name, definition in TRIGGERS.items():
        table = name.partition("_")[0]
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name} ON {table}")
        connection.exec_driver_sql(f"CREATE TRIGGER {name} {definition}")
        connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def install_roles(connection: Connection) -> None:
    """The group roles, which belong to the whole server and may be there, and what each may do here."""
    schema = _schema(connection)
    for role in (APP, ERASER):
        known = connection.exec_driver_sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'").first()
        if known is None:
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    for statement in (
        "REVOKE ALL ON events, details, alembic_version FROM PUBLIC",
        f"GRANT SELECT ON events, details, alembic_version TO {APP}, {ERASER}",
        f"GRANT INSERT ON events, details TO {APP}",
        f"GRANT DELETE ON details TO {ERASER}",
    ):
        connection.exec_driver_sql(statement)


def _schema(connection: Connection) -> str:
    """The quoted name of the schema that the tables are made in."""
    found = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalars().one_or_none()
    if found is None:
        raise HomeError("its login has no schema to make tables in", where="ledger", remedy="Set its search_path")
    return str(found)


def append_only_gap(connection: Connection) -> str | None:
    """What keeps the ledger from being append-only; None where the triggers are there, word for word and enabled, and
    this login may not alter records or switch a trigger off."""
    rows: Sequence[Any] = connection.exec_driver_sql(FOUND_TRIGGERS).all()
    found = {
        name: (definition.removeprefix(f"CREATE TRIGGER {name} "), source)
        for name, is_enabled, definition, source, is_contained in rows
        if is_enabled and is_contained
    }
    for name, definition in TRIGGERS.items():
        function = definition.rpartition(" ")[2].removesuffix("()")
        if found.get(name) != (definition, FUNCTIONS[function]):
            return f"the trigger {name} is missing, altered or switched off"
    if connection.exec_driver_sql(MAY_ALTER).scalar_one():
        return f"this database login may alter records: use one that is a member of {APP} only"
    return None


def insert_rows(
    connection: Connection, events: Sequence[tuple[Any, ...]], details: Sequence[tuple[int, bytes]]
) -> None:
    cursor: Any = connection.connection.cursor()
    try:
        for table, rows in ((f"events ({', '.join(COLUMNS)})", events), ("details (seq, payload)", details)):
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
    finally:
        cursor.close()


def known_rows(connection: Connection, select: str, event_keys: Sequence[str]) -> Iterator[Sequence[tuple[Any, ...]]]:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"{select} = ANY(%s)", (list(event_keys),))
        yield cursor.fetchall()
    finally:
        cursor.close()


def raw_chunks(connection: Connection, sql: str) -> Iterator[Sequence[tuple[Any, ...]]]:
    """By a cursor on the server, so that a ledger never is in memory as a whole; in binary, which parses faster."""
    cursor: Any = connection.connection.cursor("assent", binary=True)
    try:
        cursor.execute(sql)
        while rows := cursor.fetchmany(READ_CHUNK):
            yield rows
    finally:
        cursor.close()
