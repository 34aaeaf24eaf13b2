"""A company's own consent table: read onward, never written to; what is broken there never lets data pass."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import InternalError, OperationalError

from orchestration.backup.replay import replay
from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.anchoring.signed_heads import AnchorError
from orchestration.consent.feeds import table_feed, table_rows
from orchestration.consent.feeds.importer import import_feeds, import_file, import_table
from orchestration.consent.feeds.report import ImportReport
from orchestration.consent.feeds.rows import COLUMNS
from orchestration.consent.feeds.table_cursor import bookmark_path
from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.policy.loader import FILES, SHIPPED, load_policy, read_policy
from orchestration.policy.schema import ConsentFeed, Policy
from orchestration.policy.schema_sources import ConsentField

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PHONE, OTHER = "13812345678", "13912345678"
SECRET = "hunter2"
FEED = """\
  - name: crm
    label: {zh-CN: 客户系统, en: CRM}
    owner: privacy@example.com
    controllers: [shop]
    format: table
    url_env: CRM_URL
    table: consents
    columns:
      event_id: [id, updated_at]
      subject_value: phone
      purpose: purpose
      decision: agreed
      effective_at: decided_at
      place: place
    constants: {type: consent, controller: shop, subject_kind: phone, subject_issuer: e164, method: explicit_click}
    values:
      decision: {"Y": grant, "N": withdraw}
      purpose: {SMS: sms_marketing}
    cursor: {column: updated_at, overlap_minutes: 90}
    zone: Asia/Shanghai
    max_staleness_hours: 36
"""


def policy_with(folder: Path, feed: str) -> Path:
    """A folder with the shipped policy, whose only consent feed is `feed`."""
    folder.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copy(SHIPPED / f"{name}.yaml", folder)
    sources = (SHIPPED / "sources.yaml").read_text("utf-8").partition("consent_feeds:\n")[0]
    (folder / "sources.yaml").write_text(f"{sources}consent_feeds:\n{feed}", "utf-8")
    return folder


@dataclass
class Desk:
    """Their database, our home."""

    home: Home
    keys: Keys
    folder: Path
    engine: Engine
    policy: Policy
    row: dict[str, Any] = field(
        default_factory=lambda: {
            "id": 1,
            "phone": PHONE,
            "purpose": "SMS",
            "agreed": "Y",
            "decided_at": "2026-11-01 10:00:00",
            "updated_at": "2026-11-01 10:00:01",
            "place": None,
        }
    )

    def say(self, **changes: Any) -> None:
        """A row of theirs; the row with that id is overwritten."""
        row = {**self.row, **changes}
        with self.engine.begin() as connection:
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT OR REPLACE INTO consents ({names}) VALUES ({marks})"), row)

    def run(self, sql: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(sql))

    def mapped(self, old: str, new: str) -> None:
        assert FEED.count(old) == 1
        self.policy = load_policy(policy_with(self.folder / f"policy{abs(hash(new))}", FEED.replace(old, new)))

    def read(self, now: datetime = NOW) -> ImportReport:
        return import_feeds(self.home, self.policy, self.keys, self.home.landing, now=now)["crm"]

    def staged(self, table: str = "consent_events") -> list[dict[str, Any]]:
        with open_ledger(self.home, self.keys) as (ledger, registry):
            assert ledger.verify() is None
            rows: list[dict[str, Any]] = ledger.staged(registry, self.policy)[table].to_pylist()
        return rows

    def decisions(self, phone: str = PHONE) -> list[str]:
        token = Tokeniser(self.keys).token("phone", "e164", f"+86{phone}")
        return [row["decision"] for row in self.staged() if row["token"] == token]

    def feed(self) -> dict[str, Any]:
        (feed,) = self.staged("feeds")
        return feed

    def head(self) -> int:
        with open_ledger(self.home, self.keys) as (ledger, _):
            return ledger.head()[0]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    url = f"sqlite:///{tmp_path / 'their.db'}"
    monkeypatch.setenv("CRM_URL", url)
    home = Home.open(tmp_path / "home")
    policy = load_policy(policy_with(tmp_path / "policy", FEED))
    desk = Desk(home, Keys.open(home), tmp_path, create_engine(url), policy)
    desk.run(
        "CREATE TABLE consents"
        " (id INTEGER PRIMARY KEY, phone, purpose TEXT, agreed TEXT, decided_at, updated_at, place)"
    )
    return desk


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.read, report.accepted, report.duplicates, report.quarantined


def test_rows_are_read_onward_and_each_read_is_heard(desk: Desk) -> None:
    desk.say(id=1)
    desk.say(id=2, phone=OTHER, agreed="N", updated_at="2026-11-05 09:00:00")
    assert counts(desk.read()) == (2, 2, 0, 0)
    assert (desk.decisions(), desk.decisions(OTHER)) == (["grant"], ["withdraw"])
    assert desk.staged()[0]["effective_at"] == datetime(2026, 11, 1, 2)
    desk.say(id=3, agreed="N", updated_at="2026-11-19 09:00:00")
    later = NOW + timedelta(days=1)
    assert counts(desk.read(later)) == (2, 1, 1, 0)  # the overlap, and what is new
    assert desk.decisions() == ["grant", "withdraw"]
    silent = NOW + timedelta(days=2)
    assert counts(desk.read(silent)) == (1, 0, 1, 0)
    assert (desk.feed()["last_seen_at"], desk.feed()["is_incomplete"]) == (silent.replace(tzinfo=None), False)


def test_reading_alone_moves_the_head_once_an_hour(desk: Desk) -> None:
    desk.say()
    desk.read()
    head = desk.head()
    desk.read(NOW + timedelta(minutes=59))
    assert desk.head() == head
    desk.read(NOW + timedelta(minutes=60))
    assert desk.head() == head + 1


def test_row_that_is_overwritten_is_a_new_event(desk: Desk) -> None:
    desk.say()
    desk.read()
    desk.say(agreed="N", decided_at="2026-11-03 08:00:00", updated_at="2026-11-03 08:00:00")
    assert desk.read().accepted == 1
    assert desk.decisions() == ["grant", "withdraw"]


def test_ids_of_several_columns_never_run_together(desk: Desk) -> None:
    desk.mapped("event_id: [id, updated_at]", "event_id: [place, note]")
    desk.run("ALTER TABLE consents ADD COLUMN note")
    desk.say(id=1, place="a|", note="b")
    desk.say(id=2, place="a", note="|b", phone=OTHER)
    assert counts(desk.read()) == (2, 2, 0, 0)


@pytest.mark.fault("B1")
def test_lost_bookmark_reads_everything_again_and_changes_nothing(desk: Desk) -> None:
    desk.say(id=1, updated_at="2026-10-01 00:00:00")
    desk.say(id=2, phone=OTHER)
    desk.read()
    before = desk.staged()
    bookmark_path(desk.home, "crm").unlink()
    assert counts(desk.read()) == (2, 0, 2, 0)
    bookmark_path(desk.home, "crm").write_text("{", "utf-8")
    assert counts(desk.read()) == (2, 0, 2, 0)
    assert desk.staged() == before


def test_killed_before_the_bookmark_reads_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.say()
    with monkeypatch.context() as patch:
        patch.setattr(table_feed, "write_bookmark", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            desk.read()
    assert counts(desk.read()) == (1, 0, 1, 0)


@pytest.mark.parametrize("form", ["2026-11-05 {}", "2026-11-05T{}Z", "2026-11-05 {}.000+00:00"])
def test_row_that_commits_late_is_seen_within_the_overlap(desk: Desk, form: str) -> None:
    desk.say(id=1, updated_at=form.format("10:00:00"))
    desk.read()
    desk.say(id=2, agreed="N", updated_at=form.format("08:31:00"))
    assert desk.read().accepted == 1
    desk.say(id=3, agreed="N", updated_at=form.replace("11-05", "11-04").format("20:00:00"))
    assert desk.read().accepted == 0  # later than policy says that rows come


def test_ids_are_read_onward_with_their_own_overlap(desk: Desk) -> None:
    desk.mapped("{column: updated_at, overlap_minutes: 90}", "{column: id, overlap: 10}")
    desk.say(id=100)
    desk.read()
    desk.say(id=91, agreed="N", updated_at=None)
    desk.say(id=80, agreed="N", updated_at=None)
    assert counts(desk.read()) == (2, 1, 1, 0)


def test_without_a_cursor_the_whole_table_is_read(desk: Desk) -> None:
    desk.mapped("    cursor: {column: updated_at, overlap_minutes: 90}\n", "")
    desk.say(id=1, updated_at="2020-01-01 00:00:00")
    desk.say(id=2)
    assert counts(desk.read()) == (2, 2, 0, 0)
    assert counts(desk.read()) == (2, 0, 2, 0)


def test_row_without_a_cursor_value_is_read_every_time(desk: Desk) -> None:
    desk.say(id=1)
    desk.read()
    desk.say(id=2, agreed="N", updated_at=None)
    assert desk.read().accepted == 1


def test_row_of_the_future_hides_nothing(desk: Desk) -> None:
    desk.say(id=1, updated_at="2099-01-01 00:00:00")
    desk.read()
    desk.say(id=2, agreed="N", updated_at="2026-11-20 20:30:00")
    assert desk.read(NOW + timedelta(hours=1)).accepted == 1


def test_older_copy_of_their_table_is_read_from_its_beginning(desk: Desk) -> None:
    desk.say(id=9, updated_at="2026-11-19 00:00:00")
    desk.read()
    desk.run("DELETE FROM consents")
    desk.say(id=2, agreed="N", updated_at="2026-11-02 00:00:00")  # before the overlap
    assert desk.read().accepted == 1


def test_other_database_is_read_from_its_beginning(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.say(id=1, updated_at="2026-11-19 00:00:00")
    desk.read()
    desk.say(id=2, agreed="N", updated_at="2026-11-02 00:00:00")
    shutil.copy(desk.folder / "their.db", desk.folder / "moved.db")
    monkeypatch.setenv("CRM_URL", f"sqlite:///{desk.folder / 'moved.db'}")
    assert desk.read().accepted == 1


def test_restored_ledger_gets_back_what_it_lost(desk: Desk) -> None:
    desk.say(id=1)
    desk.read()
    copy = desk.folder / "copy.sqlite"
    shutil.copy(desk.home.ledger_db, copy)
    desk.say(id=2, agreed="N", updated_at="2026-11-04 00:00:00")
    desk.say(id=3, phone=OTHER, updated_at="2026-11-18 00:00:00")
    desk.read()
    for path in desk.home.root.glob("ledger.sqlite*"):
        path.unlink()
    shutil.copy(copy, desk.home.ledger_db)
    with pytest.raises(AnchorError, match="does not hold record"):
        desk.read()
    replay(desk.home, desk.keys, desk.home.ledger_db, Anchor(desk.home, desk.keys), NOW)
    assert desk.decisions() == ["grant", "withdraw"], "what restricts is in the journal, the second grant is lost"
    assert counts(desk.read()) == (3, 1, 2, 0), "the bookmark is of a ledger that is gone, so all is read again"
    assert desk.decisions(OTHER) == ["grant"]


@pytest.mark.fault("H1")
@pytest.mark.parametrize("code", ["R", "grant", "y", " ", None])
def test_unknown_code_denies_and_never_grants(desk: Desk, code: str | None) -> None:
    desk.say(agreed=code)
    report = desk.read()
    assert (report.accepted, report.quarantined, report.presumed_denials) == (0, 1, 1)
    assert desk.decisions() == ["presumed_denial"]
    assert (desk.read().presumed_denials, desk.decisions()) == (0, ["presumed_denial"])


@pytest.mark.fault("H1")
def test_withdrawal_of_an_unknown_purpose_denies_every_purpose(desk: Desk) -> None:
    desk.say(purpose="FAX", agreed="N")
    assert desk.read().presumed_denials == 1
    (row,) = desk.staged()
    assert (row["decision"], row["purpose"], row["controller"]) == ("presumed_denial", None, "shop")


def test_code_that_policy_learns_later_is_read_again(desk: Desk) -> None:
    desk.say(id=1, purpose="FAX", updated_at="2026-10-01 00:00:00", decided_at="2026-10-01 00:00:00")
    desk.say(id=2, phone=OTHER)
    assert counts(desk.read()) == (2, 1, 0, 1)
    desk.mapped("{SMS: sms_marketing}", "{SMS: sms_marketing, FAX: mass_content}")
    assert counts(desk.read()) == (2, 1, 1, 0)


@pytest.mark.fault("B2")
def test_same_id_with_another_body_is_a_conflict_and_denies(desk: Desk) -> None:
    desk.say()
    desk.read()
    desk.say(agreed="N")  # overwritten in place, and its `updated_at` forgotten
    report = desk.read()
    assert (report.quarantined_by_reason, report.presumed_denials) == ({"conflict": 1}, 1)
    assert "presumed_denial" in desk.decisions()


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    ("zone", "at", "stored"),
    [
        (None, "2026-11-01 10:00:00", None),
        (None, "2026-11-01 10:00:00+08:00", datetime(2026, 11, 1, 2)),
        ("Europe/London", "2026-03-29 01:30:00", None),  # the clock skipped it
        ("Europe/London", "2026-10-25 01:30:00", None),  # the clock showed it twice
        ("Europe/London", "2026-10-25 02:00:00", datetime(2026, 10, 25, 2)),
        ("Europe/London", "2026-06-01T10:00:00", datetime(2026, 6, 1, 9)),
        ("Europe/London", "2026-10-25 01:30:00+01:00", datetime(2026, 10, 25, 0, 30)),
        ("Europe/London", "2026-06-01", None),  # no instant
        ("Europe/London", "20260601", None),
        ("Europe/London", 1780000000, None),
        ("Europe/London", "soon", None),
    ],
)
def test_time_is_one_certain_instant_or_refused(desk: Desk, zone: str | None, at: Any, stored: datetime | None) -> None:
    desk.mapped("    zone: Asia/Shanghai\n", f"    zone: {zone}\n" if zone else "")
    desk.say(decided_at=at, updated_at="2026-11-01T00:00:00Z")
    report = desk.read()
    assert report.quarantined_by_reason == ({} if stored else {"bad_timestamp": 1})
    assert [row["effective_at"] for row in desk.staged()] == ([stored] if stored else [])
    desk.say(id=2, agreed="N", decided_at=at, updated_at="2026-11-01T00:00:01Z")
    desk.read()
    assert desk.decisions()[-1] == ("withdraw" if stored else "presumed_denial")


@pytest.mark.fault("H2")
def test_unreadable_withdrawal_stays_in_reach_until_it_is_corrected(desk: Desk) -> None:
    desk.say(id=1, phone="138****5678", agreed="N", updated_at="2026-11-02 00:00:00")
    desk.say(id=2, phone=OTHER, updated_at="2026-11-10 00:00:00")
    report = desk.read()
    assert (report.is_incomplete, report.refused, counts(report)) == (True, {}, (2, 1, 0, 1))
    assert (desk.feed()["is_incomplete"], desk.feed()["last_seen_at"]) == (True, None)
    for day in (1, 2):  # it is seen again each time, though it lies far behind what came since
        desk.say(id=2 + day, phone=OTHER, updated_at=f"2026-11-1{day} 00:00:00")
        assert desk.read(NOW + timedelta(days=day)).is_incomplete
    assert len(list((desk.home.quarantine / "consent_crm").iterdir())) == 1
    desk.say(id=1, phone=PHONE, agreed="N", updated_at="2026-11-02 00:00:00")  # as if it had always been so
    assert not desk.read(NOW + timedelta(days=3)).is_incomplete
    assert (desk.decisions(), desk.feed()["is_incomplete"]) == (["withdraw"], False)
    assert desk.read(NOW + timedelta(days=4)).read == 1  # and the bookmark moves on


@pytest.mark.fault("H2")
@pytest.mark.fault("H3")
@pytest.mark.parametrize(
    ("url", "sql", "reason"),
    [
        ("postgresql+psycopg://u:hunter2@127.0.0.1:1/crm", "SELECT 1", "unreadable"),
        ("postgresql+psycopg://u:hunter2@localhost:port/crm", "SELECT 1", "unreadable"),
        ("nosuchengine://u:hunter2@localhost/crm", "SELECT 1", "unreadable"),
        ("hunter2", "SELECT 1", "unreadable"),
        ("sqlite:////nowhere/hunter2.db", "SELECT 1", "unreadable"),
        (None, "DROP TABLE consents", "unreadable"),
        (None, "ALTER TABLE consents DROP COLUMN agreed", "missing_column"),
        (None, "DELETE FROM consents", "empty"),
        (None, "UPDATE consents SET updated_at = 5", "contract_broken"),
        (None, "UPDATE consents SET updated_at = '2026-11-01T10:00:00+08:00'", "contract_broken"),
        (None, "UPDATE consents SET updated_at = updated_at || 'Z' WHERE id = 2", "contract_broken"),
    ],
)
def test_table_that_cannot_be_read_stops_what_depends_on_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], url: str, sql: str, reason: str
) -> None:
    desk.say(id=1)
    desk.say(id=2)
    desk.read()
    shutil.copy(desk.folder / "their.db", desk.folder / "good.db")
    desk.run(sql)
    if url is not None:
        monkeypatch.setenv("CRM_URL", url)
    for minutes in (1, 2):
        report = desk.read(NOW + timedelta(minutes=minutes))
        assert (report.refused, report.is_incomplete) == ({"crm": reason}, True)
    assert desk.feed()["is_incomplete"]
    assert SECRET not in "".join(capfd.readouterr())
    monkeypatch.setenv("CRM_URL", f"sqlite:///{desk.folder / 'good.db'}")
    assert not desk.read(NOW + timedelta(minutes=3)).is_incomplete
    assert not desk.feed()["is_incomplete"]


@pytest.mark.fault("H2")
def test_read_that_breaks_midway_keeps_what_came_and_reads_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 6):
        desk.say(id=number, phone=f"1381234567{number}", updated_at=f"2026-11-0{number} 00:00:00")
    monkeypatch.setattr(table_feed, "ROWS_PER_BATCH", 2)
    whole = table_rows.Mapping.row

    def breaking(mapping: Any, row_no: int, values: Any) -> table_rows.TableRow:
        if row_no == 5:
            raise OperationalError("SELECT", None, Exception(PHONE))
        return whole(mapping, row_no, values)

    with monkeypatch.context() as patch:
        patch.setattr(table_rows.Mapping, "row", breaking)
        report = desk.read()
    assert (report.accepted, report.refused, report.is_incomplete) == (4, {"crm": "unreadable"}, True)
    assert desk.feed()["is_incomplete"]
    assert counts(desk.read()) == (5, 1, 4, 0)
    assert not desk.feed()["is_incomplete"]


@pytest.mark.fault("D10")
def test_variable_that_is_not_set_is_named_with_a_remedy(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRM_URL")
    with pytest.raises(AssentError, match=r"CRM_URL.*Set it"):
        desk.read()


@pytest.mark.fault("D10")
def test_url_and_values_are_nowhere_in_the_home(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / SECRET).mkdir()
    monkeypatch.setenv("CRM_URL", f"sqlite:///{desk.folder / SECRET / 'their.db'}")
    shutil.copy(desk.folder / "their.db", desk.folder / SECRET)
    desk.engine = create_engine(f"sqlite:///{desk.folder / SECRET / 'their.db'}")
    desk.say(id=1, agreed="?")
    desk.say(id=2, phone=OTHER)
    assert counts(desk.read()) == (2, 1, 0, 1)
    for path in desk.home.root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert SECRET.encode() not in content, path
        assert PHONE.encode() not in content and OTHER.encode() not in content, path
    assert bookmark_path(desk.home, "crm").stat().st_mode & 0o077 == 0


def test_source_is_only_read(desk: Desk) -> None:
    desk.say()
    before = (desk.folder / "their.db").read_bytes()
    desk.read()
    assert (desk.folder / "their.db").read_bytes() == before
    with (
        table_feed._connected(f"sqlite:///{desk.folder / 'their.db'}") as connection,
        pytest.raises(OperationalError, match="readonly"),
    ):
        connection.execute(text("DELETE FROM consents"))
    with pytest.raises(OperationalError), table_feed._connected(f"sqlite:///{desk.folder / 'none.db'}"):
        pass
    assert not (desk.folder / "none.db").exists()


@pytest.mark.fault("B1")
@pytest.mark.parametrize("time", ["timestamptz", "timestamp", "date"])
def test_postgres_table_says_the_same_in_every_session(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, postgres_url: str, time: str
) -> None:
    monkeypatch.setenv("CRM_URL", postgres_url)
    known = FEED.replace("table: consents", "table: crm.consents").replace(
        '{"Y": grant, "N"', '{"true": grant, "false"'
    )
    desk.policy = load_policy(policy_with(desk.folder / "postgres", known))
    desk.engine = create_engine(postgres_url)
    desk.run("CREATE SCHEMA crm")
    desk.run(
        "CREATE TABLE crm.consents (id bigserial, phone numeric(13, 2), purpose char(8), agreed boolean,"
        f" decided_at timestamptz, updated_at {time}, place text)"
    )
    insert = "INSERT INTO crm.consents (phone, purpose, agreed, decided_at, updated_at) VALUES"
    desk.run(f"{insert} ({PHONE}, 'SMS', true, '2026-11-01 10:00+08', '2026-11-01 10:00+08')")
    desk.run(f"{insert} ({OTHER}, 'SMS', false, '2026-11-02 10:00+08', '2026-11-09 10:00+08')")
    assert counts(desk.read()) == (2, 2, 0, 0)
    assert (desk.decisions(), desk.decisions(OTHER)) == (["grant"], ["withdraw"])
    database = desk.engine.url.database
    desk.run(f"ALTER DATABASE {database} SET timezone = 'America/New_York'")
    desk.engine.dispose()
    assert counts(desk.read()) == (1, 0, 1, 0)
    desk.run(f"{insert} ({PHONE}, 'SMS', NULL, NULL, '2026-11-10 10:00+08')")
    assert (desk.read().presumed_denials, desk.decisions()) == (1, ["grant", "presumed_denial"])
    with (
        table_feed._connected(postgres_url) as connection,
        pytest.raises(InternalError, match="read-only transaction"),
    ):
        connection.execute(text("DELETE FROM crm.consents"))


@pytest.mark.fault("C12")
def test_names_are_quoted_and_never_become_sql(desk: Desk) -> None:
    desk.mapped("place: place", "place: 'place\"; DROP TABLE consents --'")
    desk.say()
    assert desk.read().refused == {"crm": "missing_column"}
    desk.run('ALTER TABLE consents RENAME COLUMN place TO "place""; DROP TABLE consents --"')
    del desk.row["place"]
    desk.say(id=2)
    assert desk.read().accepted == 2


def test_demo_home_reads_no_table(desk: Desk, tmp_path: Path) -> None:
    desk.say()
    home = Home.open(tmp_path / "demo", demo_seed=1)
    (feed,) = desk.policy.sources.consent_feeds
    with pytest.raises(HomeError, match="demo home"):
        import_table(home, desk.policy, Keys.open(home), feed, now=NOW)


def test_table_feed_takes_no_file_and_others_no_table(desk: Desk) -> None:
    (feed,) = desk.policy.sources.consent_feeds
    with pytest.raises(AssentError, match="reads a table"):
        import_file(desk.home, desk.policy, desk.keys, feed, desk.folder / "their.db", now=NOW)
    with pytest.raises(AssentError, match="reads files"):
        import_table(desk.home, desk.policy, desk.keys, load_policy().sources.consent_feeds[0], now=NOW)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" a ", " a "),
        (True, "true"),
        (7, "7"),
        (Decimal("13812345678.00"), "13812345678"),
        (Decimal("1.38E+10"), "13800000000"),
        (Decimal("0.50"), "0.50"),
        (datetime(2026, 11, 1, 10, tzinfo=UTC), "2026-11-01T10:00:00+00:00"),
        (datetime(2026, 11, 1, 10, 0, 0, 5), "2026-11-01T10:00:00.000005"),
        (date(2026, 11, 1), "2026-11-01"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (13812345678.0, None),
        (b"138", None),
        (Decimal("NaN"), None),
        (Decimal("1E+1000000"), None),
        (["138"], None),
        ({"phone": "138"}, None),
        (timedelta(1), None),
    ],
)
def test_value_has_one_text_or_none(value: Any, expected: str | None) -> None:
    assert table_rows.text_of(value) == expected


@pytest.mark.parametrize("phone", [b"13812345678", 1.3812345678e10, "1" * 2000, "", None])
def test_subject_of_another_type_is_unreadable(desk: Desk, phone: Any) -> None:
    desk.say(agreed="N", phone=phone)
    assert (desk.read().is_incomplete, desk.staged()) == (True, [])


def test_number_is_a_readable_phone(desk: Desk) -> None:
    desk.say(phone=int(PHONE))
    assert (desk.read().accepted, desk.decisions()) == (1, ["grant"])


def test_fields_of_a_table_are_those_of_a_file() -> None:
    assert set(get_args(ConsentField)) == COLUMNS


# what the feed says, what is written instead, words of the error
BROKEN = [
    ("    url_env: CRM_URL\n", "", "needs `url_env:`"),
    ("    url_env: CRM_URL\n", "    url_env: sqlite:///their.db\n", "url_env"),
    ("    table: consents\n", "", "needs `table:`"),
    ("    table: consents\n", "    table: consents; DROP TABLE x\n", "table"),
    ("    table: consents\n", "    table: consents\n    path: consent/x.csv\n", "a table has no `path:`"),
    ("    table: consents\n", "    table: consents\n    after_ingest: {action: delete}\n", "no `after_ingest:`"),
    ("format: table", "format: csv\n    path: consent/x.csv", "`url_env:` belongs to format table"),
    ("subject_value: phone", "subject: phone", "columns.subject"),
    ("      subject_value: phone\n", "", "does not say `subject_value`"),
    ("      decision: agreed\n", "", "does not say `decision`"),
    ("      decision: agreed\n", "", "`decision` has no column"),
    ("purpose: purpose", "purpose: [purpose, place]", "only `event_id`"),
    ("[id, updated_at]", "[]", "only `event_id`"),
    ("constants: {type: consent", "constants: {type: consents", "`consents` is no type"),
    ("controller: shop,", "controller: clinic,", "`clinic` is no controller"),
    ("subject_kind: phone", "subject_kind: fone", "`fone` is no subject_kind"),
    ("method: explicit_click", "method: explicit_click, purpose: sms_marketing", "a column and a constant"),
    ("      effective_at: decided_at\n", "", "does not say `effective_at`"),
    ('"Y": grant', '"Y": agree', "`agree` is no decision"),
    ('"Y": grant', "1: grant", "put it in quotes"),
    ("SMS: sms_marketing", "SMS: sms", "`sms` is no purpose"),
    (", overlap_minutes: 90", "", "write `overlap:`"),
    ("overlap_minutes: 90", "overlap_minutes: 90, overlap: 5", "write `overlap:`"),
    ("overlap_minutes: 90", "overlap_minutes: 60", "greater than or equal to 61"),
    ("zone: Asia/Shanghai", "zone: Asia/Shanhai", "not a time zone"),
]


@pytest.mark.parametrize(("old", "new", "words"), BROKEN)
def test_broken_mapping_is_an_error_at_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert FEED.count(old) == 1
    policy, _, problems = read_policy(policy_with(tmp_path / "p", FEED.replace(old, new)))
    assert policy is None
    found = [problem for problem in problems if words in str(problem)]
    assert found, problems
    lines = (tmp_path / "p" / "sources.yaml").read_text("utf-8").splitlines()
    assert found[0].file == "sources.yaml" and found[0].line > lines.index("consent_feeds:") and found[0].remedy


def test_same_for_every_row_is_refused_where_it_cannot_be(tmp_path: Path) -> None:
    feed = FEED.replace("      effective_at: decided_at\n", "").replace(
        "type: consent,", 'type: consent, effective_at: "2026-01-01T00:00:00Z",'
    )
    _, _, problems = read_policy(policy_with(tmp_path / "p", feed))
    assert ["not the same in every row" in problem.what for problem in problems] == [True]


def test_feed_of_files_stays_as_it_was() -> None:
    feed: ConsentFeed = load_policy().sources.consent_feeds[0]
    assert (feed.format, feed.columns, feed.cursor) == ("jsonl", {}, None)
