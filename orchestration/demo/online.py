"""What people do on the website and in the app, and what visitors do who never say who they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestration.demo.activity import HOURS, Acts, act_times, acts, choose, delayed, items, once, prices
from orchestration.demo.population import People
from orchestration.demo.rows import DAY, Calendar, Ints, Objects, Rows, join, present, rows, spread, stream, where

WEB = {
    "page_viewed": 0.54, "product_viewed": 0.31, "consultation_requested": 0.06, "logged_in": 0.07,
    "order_completed": 0.02,
}  # fmt: skip
APP = {"app_open": 0.50, "view_item": 0.34, "consult": 0.05, "like_topic": 0.08, "purchase": 0.03}
VISITOR = {"page_viewed": 0.72, "product_viewed": 0.28}
TOPICS = np.array(["护肤", "防晒", "彩妆", "香氛", "新品"], dtype=object)
OLD_DAYS = 210  # some offline apps hand in what is past every retention period of behaviour


@dataclass(frozen=True)
class Visitors:
    """Anonymous visitors: a cookie each, and the instant of the first visit."""

    cookie: Objects
    first_seen: Ints


def web_rows(seed: int, calendar: Calendar, people: People) -> Rows:
    """Events of the site's tag for people who have an account, logged in or not."""
    rng = stream(seed, "web")
    done = acts(rng, calendar, np.where(people.has_web, 16.0 * people.activity * _length(calendar), 0.0))
    who, count = done.person, len(done.at)
    event = choose(rng, count, WEB)
    event = np.where((event == "order_completed") & ~people.is_shopper[who], "product_viewed", event)
    is_login, is_order = event == "logged_in", event == "order_completed"
    is_known = is_login | is_order | (rng.random(count) < 0.5)
    has_item = np.isin(event, ["product_viewed", "consultation_requested", "order_completed"])
    return rows(
        done.at,
        event=event,
        cookie_id=people.cookie[who],
        account_id=where(is_known, people.account[who]),
        email=where(is_login, people.email[who]),
        item=where(has_item, items(rng, count)),
        amount=where(is_order, prices(rng, people.spend[who]).astype(object)),
        page=_pages(rng, count),
        ip=_addresses(rng, count),
    )


def visitors(seed: int, calendar: Calendar, count: int) -> tuple[Visitors, Rows]:
    """`count` anonymous visitors and their events, each within a fortnight of the first visit."""
    rng = stream(seed, "visitors")
    first = act_times(rng, calendar, np.arange(count, dtype=np.int64), HOURS)
    cookie = np.empty(len(first.at), dtype=object)
    cookie[:] = [f"ck.anon-{number:07d}" for number in first.person.tolist()]
    visits = np.repeat(np.arange(len(first.at)), 1 + rng.poisson(6.0, len(first.at)))
    at = first.at[visits] + (rng.random(len(visits)) ** 2 * 14 * DAY).astype(np.int64)
    inside = at < calendar.as_of
    visits, at = visits[inside], at[inside]
    event = choose(rng, len(at), VISITOR)
    seen = rows(
        at,
        event=event,
        cookie_id=cookie[visits],
        item=where(event == "product_viewed", items(rng, len(at))),
        page=_pages(rng, len(at)),
        ip=_addresses(rng, len(at)),
    )
    return Visitors(cookie, first.at), seen


def app_rows(seed: int, calendar: Calendar, people: People) -> Rows:
    """Events of the app: everyday use, the one-time registration and profile, push switched on and off, old events."""
    rng = stream(seed, "app")
    done = acts(rng, calendar, np.where(people.has_app, 14.0 * people.activity * _length(calendar), 0.0))
    event = choose(rng, len(done.at), APP)
    event = np.where((event == "purchase") & ~people.is_shopper[done.person], "view_item", event)
    is_purchase, topics = event == "purchase", TOPICS[rng.integers(0, len(TOPICS), len(event))]
    is_known = is_purchase | (rng.random(len(event)) < 0.75)
    everyday = _app(
        done, event, people,
        received=delayed(rng, done.at, calendar, 0.01, 6),
        account_id=where(is_known, people.account[done.person]),
        item=where(np.isin(event, ["view_item", "consult", "purchase"]), items(rng, len(event))),
        amount=where(is_purchase, prices(rng, people.spend[done.person]).astype(object)),
        topic=where(event == "like_topic", topics),
    )  # fmt: skip
    draw = rng.random((4, people.count))
    has_push = present(people.push)
    register = once(rng, calendar, people.has_app & (draw[0] < 0.9), 0.3)
    profile = once(rng, calendar, people.has_app & (draw[1] < 0.6))
    push_on = once(rng, calendar, has_push & (draw[2] < 0.75), 0.3)
    push_off = once(rng, calendar, has_push & (draw[2] < 0.1))
    old = once(rng, calendar, people.has_app & (draw[3] < 0.02))
    return join([
        everyday,
        _app(register, "register", people, phone=_plus86(people.phone[register.person])),
        _app(profile, "profile", people, birthday=people.birthday[profile.person]),
        _app(push_on, "push_on", people, push_token=people.push[push_on.person]),
        _app(push_off, "push_off", people, push_token=people.push[push_off.person]),
        _app(Acts(old.person, old.at - OLD_DAYS * DAY), "app_open", people, received=old.at),
    ])  # fmt: skip


def _app(done: Acts, event: Objects | str, people: People, received: Ints | None = None, **columns: Objects) -> Rows:
    """App rows: the device always, the account unless given otherwise."""
    account = columns.pop("account_id", people.account[done.person])
    return rows(done.at, received, name=event, device_id=people.device[done.person], account_id=account, **columns)


def _length(calendar: Calendar) -> float:
    return calendar.day_count / 60


def _plus86(phones: Objects) -> Objects:
    return np.asarray("+86" + phones, dtype=object) if len(phones) else spread(None, 0)


def _pages(rng: np.random.Generator, count: int) -> Objects:
    pages = np.array(["/", "/new", "/sale", "/member", "/stores", "/help"], dtype=object)
    return pages[rng.integers(0, len(pages), count)]


def _addresses(rng: np.random.Generator, count: int) -> Objects:
    """Addresses reserved for documentation (RFC 5737)."""
    addresses = np.array([f"{net}.{n}" for net in ("198.51.100", "203.0.113") for n in range(1, 255)], dtype=object)
    return addresses[rng.integers(0, len(addresses), count)]
