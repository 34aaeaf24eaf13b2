"""A PostgreSQL server of the test session's own: on a Unix socket in a temporary folder, gone at the end.

Each test that asks gets a new database, and the logins that a company would have: an owner who migrates, and the
application's, a member of `assent_app`."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestration.consent.database.migrate import migrate
from orchestration.consent.database.store import make_engine

OWNER, LOGIN = "ledger_owner", "ledger_app"
MISSING = "no PostgreSQL server: install Debian's `postgresql`, or put initdb and postgres on PATH"
START_SECONDS = 30


@dataclass
class Server:
    """A running server; `database` makes a new one in it."""

    socket: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, database: str, user: str) -> str:
        return f"postgresql+psycopg://{user}@/{database}?host={self.socket}"

    def connect(self, database: str = "postgres", user: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self.socket), dbname=database, user=user, autocommit=True)

    def database(self, template: str = "template1") -> str:
        """The name of a new database, as `template` is."""
        name = f"ledger_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def ledger(self) -> str:
        """The name of a new database that holds an empty ledger."""
        return self.database("migrated")


def folder_of_binaries() -> Path | None:
    """Where initdb and postgres are: on PATH, or where Debian puts those of the newest version."""
    on_path = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = [Path(on_path).parent] if on_path else list(reversed(debian))
    return next((path for path in found if (path / "initdb").exists() and (path / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    binaries = folder_of_binaries()
    user = _other_user()
    if binaries is None or (os.geteuid() == 0 and user is None):
        if os.environ.get("REQUIRE_POSTGRES"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    root = Path(tempfile.mkdtemp(prefix="assent_pg_"))  # pytest's own folders are closed to the server's user
    if user is not None:
        os.chown(root, user.pw_uid, user.pw_gid)
    try:
        with _running(binaries, root, None if user is None else user.pw_name):
            yield _prepared(Server(root))
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """The owner's URL of a new, empty database."""
    return postgres_server.url(postgres_server.database(), OWNER)


def _other_user() -> pwd.struct_passwd | None:
    """Whom the server runs as where the tests run as root, which it refuses to."""
    if os.geteuid() != 0:
        return None
    return next((user for user in pwd.getpwall() if user.pw_name == "postgres"), None)


class _running:  # noqa: N801 - a context manager, read as `with _running(…)`
    def __init__(self, binaries: Path, root: Path, user: str | None) -> None:
        self._binaries, self._root, self._data, self._user = binaries, root, root / "data", user

    def _start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, user=self._user, group=self._user, extra_groups=None if self._user is None else [],
            cwd=self._root, umask=0o077, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> None:
        options = ("-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
        assert self._start(self._binaries / "initdb", "-D", self._data, *options).wait(START_SECONDS) == 0
        settings = ("listen_addresses=", f"unix_socket_directories={self._root}", "fsync=off", "max_wal_size=4GB")
        flags = [part for setting in settings for part in ("-c", setting)]
        self._server = self._start(self._binaries / "postgres", "-D", self._data, *flags)
        _wait_for(self._root, self._server)

    def __exit__(self, *_: object) -> None:
        self._server.send_signal(signal.SIGQUIT)  # at once, without writing down what is thrown away next
        self._server.wait(START_SECONDS)


def _wait_for(socket: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(host=str(socket), dbname="postgres", user="postgres").close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.02)


def _prepared(server: Server) -> Server:
    """The owner may make roles, as the migration needs; the application's login is in its group and nothing else."""
    with server.connect() as connection:
        connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE")
        connection.execute(f"CREATE DATABASE migrated OWNER {OWNER}")
    engine = make_engine(server.url("migrated", OWNER))
    migrate(engine)
    engine.dispose()
    with server.connect() as connection:
        connection.execute(f"CREATE ROLE {LOGIN} LOGIN IN ROLE assent_app")
    return server
