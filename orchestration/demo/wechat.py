"""What people do on WeChat: messages of the official account, events of the mini-program."""

from __future__ import annotations

import numpy as np

from orchestration.demo.activity import acts, choose, items, once
from orchestration.demo.population import People
from orchestration.demo.rows import Bools, Calendar, Rows, join, present, rows, stream, where

MESSAGES = {"CLICK": 0.50, "VIEW": 0.42, "text": 0.02, "SCAN": 0.06}
PROGRAM = {"launch": 0.90, "consult": 0.07, "pay": 0.03}
MENU = {"CLICK": "MENU_NEW", "VIEW": "https://shop.example.com/new"}


def followed_in_range(seed: int, people: People) -> Bools:
    """Who follows within the world's days; the other followers did so before, and the platform's list says it."""
    return people.is_follower & (stream(seed, "follows").random(people.count) < 0.6)


def account_rows(seed: int, calendar: Calendar, people: People) -> Rows:
    """Messages of the official account: follows by a scanned member code, clicks, scans, unfollows."""
    rng = stream(seed, "official account")
    length = calendar.day_count / 60
    done = acts(rng, calendar, np.where(people.is_follower, 5.0 * people.activity * length, 0.0))
    event = choose(rng, len(done.at), MESSAGES)
    scans = present(people.member)
    key = np.where(
        event == "SCAN", people.member[done.person], np.array([MENU.get(name) for name in event], dtype=object)
    )
    everyday = rows(
        done.at,
        openid=people.openid[done.person],
        event=where(event != "text", event),
        key=key,
        content=where(event == "text", np.full(len(event), "请问几点开门?", dtype=object)),
    )
    follow = once(rng, calendar, followed_in_range(seed, people), 0.3)
    by_code = scans[follow.person] & (rng.random(len(follow.at)) < 0.6)
    codes = np.asarray("qrscene_" + np.where(by_code, people.member[follow.person], "spring"), dtype=object)
    unfollow = once(rng, calendar, people.is_follower & (rng.random(people.count) < 0.07))
    return join([
        everyday,
        rows(follow.at, openid=people.openid[follow.person], event="subscribe", key=codes),
        rows(unfollow.at, openid=people.openid[unfollow.person], event="unsubscribe"),
    ])  # fmt: skip


def program_rows(seed: int, calendar: Calendar, people: People) -> Rows:
    """Events of the mini-program: unionid always, the member code and the phone where the person gave them."""
    rng = stream(seed, "mini-program")
    length = calendar.day_count / 60
    done = acts(rng, calendar, np.where(people.has_wechat, 8.0 * people.activity * length, 0.0))
    who, event = done.person, choose(rng, len(done.at), PROGRAM)
    event = np.where((event == "pay") & ~people.is_shopper[who], "launch", event)
    everyday = rows(
        done.at,
        mp_openid=people.mp_openid[who],
        unionid=people.unionid[who],
        event=event,
        item=where((event != "launch") | (rng.random(len(event)) < 0.4), items(rng, len(event))),
        member=where(rng.random(len(event)) < 0.3, people.member[who]),
    )
    bind = once(rng, calendar, people.has_wechat & (rng.random(people.count) < 0.65), 0.5)
    bound = rows(
        bind.at,
        mp_openid=people.mp_openid[bind.person],
        unionid=people.unionid[bind.person],
        event="bind_phone",
        phone=people.phone[bind.person],
    )
    return join([everyday, bound])
