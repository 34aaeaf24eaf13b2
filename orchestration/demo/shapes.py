"""The raw shapes: how each source writes one event down. Written by hand, apart from the contracts that read them back.

A writer takes rows in their final order and gives one text per event; values never need escaping (`personas.py` and
`population.py` see to that)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from orchestration.demo.rows import SECOND, Calendar, Ints, Rows, spread

Writer = Callable[[Rows, Calendar], list[str]]

TILL_HEADER = "小票行号,类型,时间,会员码,手机号,姓名,生日,项目,金额,门店,城市,等级"


def utc(instants: Ints) -> list[str]:
    """ISO 8601 with milliseconds, in UTC."""
    return [f"{text}Z" for text in np.datetime_as_string(instants.astype("datetime64[ms]")).tolist()]


def local(instants: Ints, offset: int) -> list[str]:
    """ISO 8601 to the second with the zone's offset."""
    sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60_000
    zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    seconds = ((instants + offset) // SECOND).astype("datetime64[s]")
    return [text + zone for text in np.datetime_as_string(seconds).tolist()]


def tag_lines(table: Rows, calendar: Calendar) -> list[str]:
    """The website's tag, in the manner of Segment."""
    fields = ("event", "cookie_id", "account_id", "email", "item", "amount", "page", "ip")
    return [
        f'{{"messageId":"w-{n:09d}","type":"track","event":"{event}","timestamp":"{at}",'
        f'"anonymousId":{_json(cookie)},"userId":{_json(account)},"context":{{"ip":"{ip or "203.0.113.9"}",'
        f'"library":{{"name":"analytics.js","version":"2.11"}},"page":{{"path":"{page or "/"}"}},'
        f'"traits":{{{_pair("email", email)}}}}},"properties":{{'
        f"{_pair('product_id', item)}{',' if item and amount is not None else ''}{_number('revenue', amount)}}}}}"
        for n, at, (event, cookie, account, email, item, amount, page, ip) in _numbered(table, utc(table.at), fields)
    ]


def app_lines(table: Rows, calendar: Calendar) -> list[str]:
    """The app's own event format: nested device and parameters, epoch milliseconds."""
    fields = ("name", "device_id", "account_id", "phone", "push_token", "item", "amount", "topic", "birthday")
    return [
        f'{{"id":"a-{n:09d}","name":"{name}","ts":{at},"user":{_json(account)},"user_phone":{_json(phone)},'
        f'"device":{{"id":{_json(device)},"push_token":{_json(push)},"model":"Demo 5","os":"14"}},'
        f'"params":{{{_members(("item", item), ("topic", topic), ("birthday", birthday), amount=amount)}}}}}'
        for n, at, (name, device, account, phone, push, item, amount, topic, birthday) in _numbered(
            table, table.at.tolist(), fields
        )
    ]


def account_messages(table: Rows, calendar: Calendar) -> list[str]:
    """Messages that WeChat posts to an official account: XML, seconds, the scene in EventKey."""
    fields = ("openid", "event", "key", "member", "content")
    return [
        f"<xml><ToUserName><![CDATA[gh_yueji_shop]]></ToUserName><FromUserName><![CDATA[{openid}]]></FromUserName>"
        f"<CreateTime>{at}</CreateTime>{_message(n, event, key or member, content)}</xml>"
        for n, at, (openid, event, key, member, content) in _numbered(table, (table.at // SECOND).tolist(), fields)
    ]


def _message(number: int, event: str | None, key: str | None, content: str | None) -> str:
    if event is None:
        return (
            f"<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{content or ''}]]></Content>"
            f"<MsgId>{7_000_000_000 + number}</MsgId>"
        )
    ticket = "<Ticket><![CDATA[gQH47joAAAAAAAAAASxodHRwOi8v]]></Ticket>" if event in ("SCAN", "subscribe") else ""
    return (
        f"<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[{event}]]></Event>"
        f"<EventKey><![CDATA[{key or ''}]]></EventKey>{ticket}"
    )


def program_lines(table: Rows, calendar: Calendar) -> list[str]:
    """The mini-program's events; absent values are left out rather than null."""
    fields = ("mp_openid", "unionid", "event", "item", "phone", "member")
    return [
        f'{{"appid":"wx-mp-shop","event":"{event}","ts":{at}{_more("openid", openid)}{_more("unionid", unionid)}'
        f"{_more('page_item', item)}{_more('phone', phone)}{_more('member_code', member)}}}"
        for _, at, (openid, unionid, event, item, phone, member) in _numbered(
            table, (table.at // SECOND).tolist(), fields
        )
    ]


def till_lines(prefix: str) -> Writer:
    """The rows of a till; the receipt lines of two tills differ by `prefix`."""
    fields = ("type", "member", "phone", "customer_name", "birthday", "item", "amount", "store", "city", "tier")

    def write(table: Rows, calendar: Calendar) -> list[str]:
        seconds = ((table.at + calendar.offset) // SECOND).astype("datetime64[s]")
        times = [text.replace("-", "/").replace("T", " ") for text in np.datetime_as_string(seconds).tolist()]
        return [
            f"{prefix}{n:09d},{kind},{at},{member or ''},{phone or ''},{name or ''},{birthday or ''},{item},"
            f"{amount:.2f},{store},{city or ''},{tier or ''}"
            for n, at, (kind, member, phone, name, birthday, item, amount, store, city, tier) in _numbered(
                table, times, fields
            )
        ]

    return write


def _numbered(table: Rows, times: list[Any], fields: tuple[str, ...]) -> Any:
    columns = [table.columns.get(field, spread(None, len(table))).tolist() for field in fields]
    return zip(range(1, len(table) + 1), times, zip(*columns, strict=True), strict=True)


def _json(value: str | None) -> str:
    return "null" if value is None else f'"{value}"'


def _pair(key: str, value: str | None) -> str:
    return "" if value is None else f'"{key}":"{value}"'


def _more(key: str, value: str | None) -> str:
    return "" if value is None else f',"{key}":"{value}"'


def _number(key: str, value: float | None) -> str:
    return "" if value is None else f'"{key}":{value:.2f}'


def _members(*pairs: tuple[str, str | None], amount: float | None) -> str:
    present = [_pair(key, value) for key, value in pairs if value is not None]
    return ",".join([*present, _number("amount", amount)] if amount is not None else present)
