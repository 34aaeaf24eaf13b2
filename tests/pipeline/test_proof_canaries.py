"""`assent prove --canaries` on a built home: it finds nothing there, and everything that is then left on purpose, in
every kind of place, packed in every way, and says what was and was not searched."""

from __future__ import annotations

import gzip
import json
import pickle
import re
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from orchestration.errors import ExitCode
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.vault import Vault
from orchestration.proof.marked import USES
from orchestration.retention.control import WAYS
from tests.homes import copy_home
from tests.pipeline.conftest import Finished, assent

PACKAGE = Path(__file__).parents[2] / "orchestration"


@pytest.fixture(scope="module")
def home(built: tuple[Path, Finished], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(built[0], tmp_path_factory.mktemp("canaries") / "home")


def contacts(home: Home, keys: Keys) -> list[str]:
    with Vault(home, keys) as vault:
        return sorted(vault.get(vault.contact_points_arrow()["token"].to_pylist()).values())


def secrets(home: Home, keys: Keys) -> list[bytes]:
    """The key of each person's contact details."""
    with Vault(home, keys) as vault, SubjectRegistry(home, keys) as registry:
        return list(registry.existing_data_keys(vault.contact_points_arrow()["token"].to_pylist()).values())


def audience_keys(file: Path) -> dict[str, list[str]]:
    with duckdb.connect(str(file), read_only=True) as con:
        query = "select purpose, list(audience_key) from intermediate.int_audience_keys group by purpose"
        return dict(con.execute(query).fetchall())


def leak_everywhere(root: Path) -> dict[str, str]:
    """File → the kind of thing that was left in it, all of that kind so that the sample is in it."""
    home = Home.open(root, create=False)
    keys = Keys.open(home)
    file = next(home.warehouse.glob("*.duckdb"))
    values, keys_of = contacts(home, keys), audience_keys(file)
    with SubjectRegistry(home, keys) as registry:
        tokens = registry.mapping_arrow()["token"].to_pylist()
    csv = next(path for path in sorted(home.outbox.rglob("*.csv")) if "audience" in path.name and "sms" in str(path))
    others = [key for purpose, some in sorted(keys_of.items()) if purpose != "sms_marketing" for key in some]
    with duckdb.connect(str(file)) as con:
        con.execute("update marts.wechat_engaged set notice = audience_key")
        con.execute("create table governance.leak as select unnest(?) as example", [tokens])
    with closing(sqlite3.connect(next(home.dagster.rglob("*.db")))) as con:
        con.execute("create table leak (body blob)")
        con.executemany("insert into leak values (?)", [(zlib.compress(value.encode() * 9),) for value in values])
        con.commit()
        sqlite_file = Path(con.execute("pragma database_list").fetchone()[2])
    left: dict[Path, tuple[bytes, str]] = {
        home.dagster / "storage" / "result": (gzip.compress(pickle.dumps(values)), "a contact detail"),
        home.evidence / "x" / "summary.json": (json.dumps(tokens).encode(), "a token"),
        home.evidence / "x" / "more.json": (json.dumps(others).encode(), "an audience key"),
        home.tmp / "dbt" / "logs" / "dbt.log": (b"\n".join(secrets(home, keys)), "the key of one person"),
        home.policies / "old" / "env": (keys.master.hex().encode(), "a master key"),
        home.root / "notes.txt": (b"\n".join(token.encode() for token in tokens), "a token"),  # no place declares it
        csv: (_csv(others[: len(others)]), "an audience key"),
        csv.with_name("phones.csv"): (_csv(values, "notice"), "a contact detail"),
    }
    for path, (content, _) in left.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    kinds = {path: kind for path, (_, kind) in left.items()}
    kinds |= {file: "an audience key", sqlite_file: "a contact detail"}
    return {path.relative_to(root).as_posix(): kind for path, kind in kinds.items()}


def _csv(values: list[str], column: str = "audience_key") -> bytes:
    return "\r\n".join(["contact,audience_key,notice"] + [f"+861,{_row(column, value)}" for value in values]).encode()


def _row(column: str, value: str) -> str:
    return f"{value}," if column == "audience_key" else f",{value}"


@pytest.mark.fault("E1", "E2", "E3", "E5", "E7")
def test_built_home_is_proved_and_every_leak_is_found(home: Path) -> None:
    done = assent(home, "prove", "--canaries", "--json")
    assert done.code == ExitCode.OK, done.out
    proof = done.json()
    assert proof["is_proved"] and proof["failed"] == 0 and proof["obligations"] > 1000
    assert proof["searched"]["controls"] == {"planted": len(WAYS) + 2, "missed": 0}  # home and anchor each have one
    assert all(counts["looked_for"] > 0 for counts in proof["searched"]["looked_for"].values())
    assert json.loads(Path(proof["evidence"]).read_bytes())["signature"]

    left = leak_everywhere(home)
    done = assent(home, "prove", "--canaries", "--json")
    assert done.code == ExitCode.VERIFY
    found: dict[str, set[str]] = {}
    for verdict in done.json()["verdicts"]:
        for failure in verdict["failures"]:
            found.setdefault(failure["path"][0], set()).add(failure["what"])
    assert found.keys() == left.keys()
    for path, kind in left.items():
        assert any(what.startswith(kind) for what in found[path]), (path, found[path])
    assert "contact detail" not in " ".join(found[next(path for path in left if path.endswith(".duckdb"))])
    plain = contacts(Home.open(home, create=False), Keys.open(Home.open(home, create=False)))
    assert not any(value in done.out for value in plain), "what was found is not said again"


@pytest.mark.slow
def test_search_that_misses_its_control_proves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, copy_of: Callable[[Path], Path]
) -> None:
    monkeypatch.setitem(WAYS, "unheard of", lambda path, _, value: path.write_bytes(value.encode()[::-1]) and None)
    done = assent(home, "prove", "--canaries")
    assert done.code == ExitCode.VERIFY
    assert "BAD  canaries  control" in done.out and "unheard of" in done.out and "NOT PROVED" in done.out


def test_every_use_of_a_master_key_is_looked_for() -> None:
    """A key derived for a new use has to be named in `marked.USES`, or it would lie about unnoticed."""
    code = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.name != "marked.py")
    used = set(re.findall(r'\.(?:derive|cipher)\(\s*"([^"]+)"\s*\)', code))
    used |= set(re.findall(r'^LABEL = "([^"]+)"', code, flags=re.MULTILINE)) | {"token", "keyed hash"}
    assert used - {"home id"} == set(USES)  # a home's id is no secret: it names a folder of the anchor
