"""Makes the demo world: every feed's file for every day, the consent history, and the personas among the crowd.

The same seed, size and `as_of` give the same bytes. Nothing here reads a clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.demo import online, population, shapes, tills, wechat
from orchestration.demo.consent import ConsentWorld
from orchestration.demo.files import by_day, day_path, write_days
from orchestration.demo.noise import add_noise
from orchestration.demo.personas import PATH, load_personas
from orchestration.demo.rows import DAY, Calendar, Rows, join, rows
from orchestration.demo.tellings import consent_rows, touch_rows
from orchestration.errors import AssentError
from orchestration.policy.schema import ConsentFeed, Feed, Policy

VISITORS_PER_PERSON = 0.4
WRITERS: dict[str, shapes.Writer] = {
    "tag": shapes.tag_lines,
    "events": shapes.app_lines,
    "official_account": shapes.account_messages,
    "mini_program": shapes.program_lines,
    "till": shapes.till_lines("S"),
    "clinic_till": shapes.till_lines("C"),
}
CONSENT_FEED, REDELIVERED_FEED = "consent_center", "events"


@dataclass(frozen=True)
class WorldReport:
    """What was written, in counts."""

    people: int
    visitors: int
    personas: int
    days: int
    files: int
    touchpoints: dict[str, int]  # lines per feed, broken and repeated ones included
    consent_records: int  # lines, repeated ones included


def make_world(
    landing: Path, policy: Policy, *, seed: int, people: int, days: int, as_of: datetime, personas: Path = PATH
) -> WorldReport:
    """Writes the world that ends at `as_of` (aware) into `landing`. Raises AssentError where it cannot be made."""
    _refuse_impossible(policy, people, days, as_of)
    calendar = Calendar.of(as_of, days, policy.organisation.zone)
    crowd, told = population.people(seed, people), load_personas(policy, personas).personas
    visitors, visits = online.visitors(seed, calendar, max(1, round(people * VISITORS_PER_PERSON)))
    sources: dict[str, Callable[[], list[Rows]]] = {
        "tag": lambda: [online.web_rows(seed, calendar, crowd), visits, _probe(calendar, "tag")],
        "events": lambda: [online.app_rows(seed, calendar, crowd), _probe(calendar, "events")],
        "official_account": lambda: [wechat.account_rows(seed, calendar, crowd), _probe(calendar, "official_account")],
        "mini_program": lambda: [wechat.program_rows(seed, calendar, crowd), _probe(calendar, "mini_program")],
        "till": lambda: [tills.shop_rows(seed, calendar, crowd)],
        "clinic_till": lambda: [tills.clinic_rows(seed, calendar, crowd)],
    }
    feeds = _feeds(policy)
    touchpoints, files = {}, 0
    for name, parts in sources.items():
        table = join([*parts(), touch_rows(told, name, calendar)]).ordered(calendar)
        lines = by_day(WRITERS[name](table, calendar), table.received, calendar)
        add_noise(name, lines)
        files += write_days(landing, feeds[name], lines, calendar)
        touchpoints[name] = sum(map(len, lines))
    files += _redeliver(landing, feeds[REDELIVERED_FEED], calendar)
    consents = ConsentWorld(seed, calendar, policy, crowd).rows(visitors)
    consents = join([consents, consent_rows(told, calendar, policy)]).ordered(calendar)
    records = by_day(consents.columns["line"].tolist(), consents.received, calendar)
    add_noise(CONSENT_FEED, records)
    files += write_days(landing, feeds[CONSENT_FEED], records, calendar)
    return WorldReport(
        people, len(visitors.cookie), len(told), calendar.day_count, files, touchpoints, sum(map(len, records))
    )


def _refuse_impossible(policy: Policy, people: int, days: int, as_of: datetime) -> None:
    if people < 1 or days < 1:
        raise AssentError("a world needs people and days", where="demo", remedy="Give --people and --days of 1 or more")
    first = min(v.published_at for notice in policy.notices.notices for v in notice.versions)
    if as_of.timestamp() - days * DAY / 1000 < first.timestamp():
        raise AssentError(
            "the world would begin before the first notice was published", where="demo",
            remedy="Give fewer --days or a later --as-of",
        )  # fmt: skip


def _feeds(policy: Policy) -> dict[str, Feed | ConsentFeed]:
    found: dict[str, Feed | ConsentFeed] = {f.name: f for source in policy.sources.sources for f in source.feeds}
    found |= {feed.name: feed for feed in policy.sources.consent_feeds}
    missing = sorted({*WRITERS, CONSENT_FEED} - found.keys())
    if missing:
        raise AssentError(
            f"the policy has no feed {', '.join(missing)}", where="sources.yaml",
            remedy="The demo world is made for the shipped policy",
        )  # fmt: skip
    return found


def _probe(calendar: Calendar, feed: str) -> Rows:
    """The company's own check that the feed is alive: once a day, so that no day's file is empty."""
    at = calendar.noons()
    columns: dict[str, dict[str, Any]] = {
        "tag": {"event": "page_viewed", "cookie_id": "ck.probe"},
        "events": {"name": "app_open", "device_id": "dv-probe"},
        "official_account": {"event": "CLICK", "openid": "oA-probe", "key": "MENU_NEW"},
        "mini_program": {"event": "launch", "mp_openid": "oM-probe"},
    }
    return rows(at, None, **columns[feed])


def _redeliver(landing: Path, feed: Feed | ConsentFeed, calendar: Calendar) -> int:
    """The first day's file once more, under the name of the day before: the same bytes must count once."""
    again = day_path(landing, feed, calendar.day(-1))
    again.write_bytes(day_path(landing, feed, calendar.day(0)).read_bytes())
    return 1
