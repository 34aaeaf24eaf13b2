"""The faults of real deliveries, in small numbers: broken rows, repeated rows, one id with two bodies.

Consent files get repeated rows only: a broken line there may hide a withdrawal, and would rightly stop every export.
What goes wrong with single consent records is told by the personas."""

from __future__ import annotations

from orchestration.demo.files import Days

REPEAT_EVERY = 500  # one row in so many is delivered twice

# Each line breaks one rule of its feed. No names, numbers or addresses in them.
BROKEN: dict[str, tuple[str, ...]] = {
    "tag": (
        '{"messageId":"w-broken-1","type":"track","event":"page_viewed","timest',
        '{"messageId":"w-broken-2","type":"track","event":"page_viewed","timestamp":"yesterday"}',
        '{"messageId":"w-broken-3","type":"track","event":"page_viewed","timestamp":"2026-01-05T10:00:00Z","gender":"f"}',
        '{"messageId":"w-broken-4","type":"track","timestamp":"2026-01-05T10:00:00Z"}',
        '{"messageId":"w-broken-5","type":"track","event":"page_viewed","timestamp":"2026-01-05T10:00:00"}',
    ),
    "events": (
        "not json at all",
        '{"id":"a-broken-1","name":"app_open","ts":"soon","device":{"id":"dv-broken"}}',
        '{"id":"a-broken-2","name":"app_open","ts":4102444800000,"device":{"id":"dv-broken"}}',
        '{"id":"a-broken-3","name":"purchase","ts":1767600000000,"params":{"amount":-5}}',
    ),
    "official_account": (
        "<!DOCTYPE x><xml><FromUserName>oA-broken</FromUserName><CreateTime>1767600000</CreateTime></xml>",
        "<xml><FromUserName><![CDATA[oA-broken]]></FromUserName><CreateTime></CreateTime></xml>",
        "<xml><FromUserName><![CDATA[oA-broken]]></FromUserName><CreateTime>1767600000</CreateTime>"
        "<Latitude>31.2</Latitude></xml>",
    ),
    "mini_program": (
        '{"appid":"wx-mp-shop","event":"launch"}',
        '{"appid":"wx-mp-shop","event":"launch","ts":1767600000,"session_key":"x"}',
    ),
    "till": (
        "S-broken-1,销售,2026/13/45 10:00:00,,,,,sku-001,10.00,store-xuhui,上海,",
        "S-broken-2,销售,2026/01/05 10:00:00,,,,,sku-001,ten,store-xuhui,上海,",
        "S-broken-3,销售,2026/01/05 10:00:00,X1,,,,sku-001,10.00,store-xuhui,上海,",
        "S-broken-4,销售,2026/01/05 10:00:00,,,,,,10.00,store-xuhui,上海,",
    ),
    "clinic_till": ("C-broken-1,到诊,2026/01/05 10:00:00,,,,,sku-001,,clinic-pudong,上海,",),
}
# feed → what to change in a line so that the id stays and the body does not
CHANGED: dict[str, tuple[str, str]] = {
    "tag": ('"event":"page_viewed"', '"event":"product_viewed"'),
    "events": ('"name":"app_open"', '"name":"view_item"'),
    "till": (",销售,", ",咨询,"),
}
CONFLICTS = 3


def add_noise(feed: str, days: Days) -> None:
    """Adds the feed's faults to its days, in place; which rows and days they hit depends on the rows alone."""
    _repeat(days)
    if feed in CHANGED:
        _contradict(days, *CHANGED[feed])
    for number, line in enumerate(BROKEN.get(feed, ())):
        days[(7 * number + 3) % len(days)].append(line)


def _repeat(days: Days) -> None:
    for index, lines in enumerate(days):
        again = lines[index % REPEAT_EVERY :: REPEAT_EVERY]
        days[min(index + index % 2, len(days) - 1)].extend(again)  # in the same file, or in the next day's


def _contradict(days: Days, old: str, new: str) -> None:
    for number in range(CONFLICTS):
        lines = days[(11 * number + 5) % len(days)]
        line = next((line for line in lines if old in line), None)
        if line is not None:
            lines.append(line.replace(old, new, 1))
