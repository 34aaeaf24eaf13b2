"""One person of a real build asks to be erased, by the command line: from the request to the search of every byte."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.errors import ExitCode
from orchestration.home import Home
from orchestration.warehouse.publish import connect_published
from tests.homes import copy_home
from tests.leaks import forms, scan
from tests.markers import mark
from tests.pipeline.conftest import AS_OF, Finished, assent
from tests.pipeline.test_withdrawal import CONTACT, PERSONA, audience

PERSON = f"account:shop:{PERSONA}\n"
VALUES = f"{PERSON}phone:e164:+{CONTACT}\n"
LATER = "2026-11-22T01:00:00+08:00"


def members(home: Path) -> dict[str, set[str]]:
    """The keys of everybody in each segment."""
    with connect_published(Home(home)) as con:
        tables = con.execute("select table_name from duckdb_tables() where schema_name = 'marts'").fetchall()
        found = {name: con.execute(f'select audience_key from marts."{name}"').fetchall() for (name,) in tables}
    return {name: {key for (key,) in rows} for name, rows in found.items()}


@pytest.mark.slow  # three builds, a replay and four searches; the unit tests erase somebody step by step
@pytest.mark.fault("F1", "F3", "F5", "F12")
def test_person_is_erased_and_stays_out(built: tuple[Path, Finished], copy_of: Callable[[Path], Path]) -> None:
    home = copy_of(built[0])
    asked = assent(home, "request", "erase", "--identifier-file", "-", "--json", stdin=PERSON)
    assert asked.code == 0, asked.err
    request, selected = asked.json()["id"], asked.json()["selected"]
    assert selected["touchpoints"] and selected["contacts"]
    assert assent(home, "export").code == 0
    rows, _, _ = audience(home, "consulted_not_bought_30", "sms_gateway")
    assert rows and CONTACT not in {row["contact"] for row in rows}, "use stops with the next export"

    found = assent(home, "erase", request, "--verify", "--value-file", "-", "--json", stdin=VALUES)
    assert found.code == ExitCode.VERIFY
    places = ("lake/web", "lake/links", "keys.sqlite", "vault.sqlite", "warehouse/identity", "journal.log", "archive/")
    hits = found.json()["hits"]
    assert {place: any(place in where for where in hits) for place in places} == dict.fromkeys(places, True)

    assert assent(home, "request", "confirm", request, "--confirm", "--undo-now").code == 0
    first = assent(home, "erase", "--json")
    assert (first.code, first.json()["erased"][0]["pending"]) == (ExitCode.FAILED, ["generations"])
    done = assent(home, "run", "--as-of", AS_OF, "--json")
    assert done.code == 0, done.err
    assert assent(home, "request", "show", request, "--json").json()["state"] == "physically_erased", "by the build"
    assert assent(home, "erase", "--json").json() == {"erased": []}

    clean = assent(home, "erase", request, "--verify", "--value-file", "-", "--json", stdin=VALUES)
    assert (clean.code, clean.json()["hits"]) == (0, {}), clean.out
    needles = {value: forms(value) for value in (PERSONA, f"+{CONTACT}")}
    assert scan([home, home.with_name("home.anchor")], needles) == {}, (
        "another scan, with other forms, sees none either"
    )
    assert assent(home, "verify").code == 0
    beside = copy_home(built[0], home.with_name("beside"))
    assert assent(beside, "run", "--as-of", AS_OF, "--rebuild").code == 0
    before, after = members(beside), members(home)
    assert {name: len(before[name] - after[name]) for name in before if before[name] != after[name]} == dict.fromkeys(
        sorted(name for name in before if before[name] != after[name]), 1
    ), "of each segment at most the person is gone, beside a build that nobody was erased from"
    assert all(after[name] <= before[name] for name in before)
    assert after["consulted_not_bought_30"] < before["consulted_not_bought_30"]

    replay = assent(home, "replay", "--generation", done.json()["generation"], "--json")
    assert replay.code == 0, replay.err + replay.out
    deliver_again(home / "landing")
    again = assent(home, "run", "--as-of", LATER, "--json")
    assert again.code in (0, ExitCode.REFUSED_INPUT), again.err
    assert again.json()["sources"]["web"]["suppressed"] == 1
    assert again.json()["sources"]["web"]["accepted"] == built[1].json()["sources"]["web"]["accepted"] + 1
    assert scan([home, home.with_name("home.anchor")], needles) == {}


def deliver_again(landing: Path) -> None:
    """The website's feed brings the person again, and somebody else."""
    path = landing / "web" / "tag-2026-11-22.jsonl.gz"
    row = {"event": "page_viewed", "timestamp": "2026-11-22T00:10:00+08:00", "anonymousId": "ck-other"}
    rows = [
        {**row, "messageId": "again-1", "userId": PERSONA},
        {**row, "messageId": "again-2", "userId": "acc-other-1"},
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(one) + "\n" for one in rows).encode(), mtime=0))
    mark(path, ".done")
