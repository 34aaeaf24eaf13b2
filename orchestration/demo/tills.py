"""What the tills of the shop and of the clinic record: sales, returns, advice, visits, and people who stay unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestration.demo.activity import SHOP_HOURS, Acts, act_times, acts, items, prices
from orchestration.demo.population import CLINICS, STORES, People
from orchestration.demo.rows import DAY, Calendar, Objects, Rows, join, present, rows, stream, where

# How many purchases a member makes in 60 days: most none or one, so that absence means something.
PURCHASES = np.cumsum([0.34, 0.34, 0.17, 0.09, 0.06])
TREATMENTS = np.array([f"med-{n:02d}" for n in range(8)], dtype=object)


def shop_rows(seed: int, calendar: Calendar, people: People) -> Rows:
    """The shop's tills: members' sales, some returns, advice at the counter, and walk-ins."""
    rng = stream(seed, "tills")
    length = calendar.day_count / 60
    counts = np.searchsorted(PURCHASES, rng.random(people.count)) * (1 if length <= 1 else round(length))
    buyers = np.repeat(np.arange(people.count, dtype=np.int64), np.where(people.has_member, counts, 0))
    sales = act_times(rng, calendar, buyers, SHOP_HOURS)
    amount = prices(rng, people.spend[sales.person])
    sold = _of_members(rng, people, sales, "销售", amount)
    back = (rng.random(len(sales.at)) < 0.04) & (sales.at + 3 * DAY < calendar.as_of)
    returns = Acts(sales.person[back], sales.at[back] + 3 * DAY - 60_000)
    advice = acts(rng, calendar, np.where(people.has_member, 0.15 * length, 0.0), SHOP_HOURS)
    return join([
        sold,
        _of_members(rng, people, returns, "退货", -amount[back]),
        _of_members(rng, people, advice, "咨询", np.zeros(len(advice.at))),
        _walk_ins(rng, calendar, people.count, STORES),
    ])  # fmt: skip


def clinic_rows(seed: int, calendar: Calendar, people: People) -> Rows:
    """The clinic's till: visits, skin care sold there, and walk-ins. Every row is sensitive by its store."""
    rng = stream(seed, "clinic")
    length = calendar.day_count / 60
    visits = acts(rng, calendar, np.where(people.is_patient, 1.3 * length, 0.0), SHOP_HOURS)
    sales = acts(rng, calendar, np.where(people.is_patient, 0.4 * length, 0.0), SHOP_HOURS)
    return join([
        _of_patients(rng, people, visits, "到诊", TREATMENTS[rng.integers(0, 8, len(visits.at))]),
        _of_patients(rng, people, sales, "销售", items(rng, len(sales.at))),
        _walk_ins(rng, calendar, 0, CLINICS),
    ])  # fmt: skip


def _of_members(rng: np.random.Generator, people: People, done: Acts, kind: str, amount: NDArray[np.float64]) -> Rows:
    who, count = done.person, len(done.at)
    elsewhere = rng.random(count) < 0.2
    store = np.where(elsewhere, rng.integers(0, len(STORES), count), people.home_store[who])
    return _till(
        done, kind, STORES, store,
        member=where(rng.random(count) < 0.97, people.member[who]),
        phone=_as_typed(rng, where(rng.random(count) < 0.8, people.phone[who])),
        customer_name=people.name[who],
        birthday=where(rng.random(count) < 0.25, people.birthday[who]),
        item=items(rng, count),
        amount=amount.astype(object),
        tier=people.tier[who],
    )  # fmt: skip


def _of_patients(rng: np.random.Generator, people: People, done: Acts, kind: str, item: Objects) -> Rows:
    who = done.person
    return _till(
        done, kind, CLINICS, people.clinic[who],
        member=people.member[who],
        phone=where(rng.random(len(who)) < 0.95, people.phone[who]),
        customer_name=people.name[who],
        item=item,
        amount=prices(rng, people.spend[who] * 3).astype(object),
        tier=people.tier[who],
    )  # fmt: skip


def _walk_ins(rng: np.random.Generator, calendar: Calendar, people: int, stores: tuple[tuple[str, str], ...]) -> Rows:
    """Sales to nobody in particular: at least one a day, so no till file is ever empty."""
    extra = act_times(rng, calendar, np.zeros(people // 20, dtype=np.int64), SHOP_HOURS).at
    at = np.concatenate([calendar.noons(), extra])
    return _till(
        Acts(np.zeros(len(at), dtype=np.int64), at), "销售", stores, rng.integers(0, len(stores), len(at)),
        item=items(rng, len(at)),
        amount=prices(rng, np.full(len(at), 90.0)).astype(object),
    )  # fmt: skip


def _till(
    done: Acts, kind: str, stores: tuple[tuple[str, str], ...], store: NDArray[np.int64], **columns: Objects
) -> Rows:
    names = np.array([name for name, _ in stores], dtype=object)[store]
    cities = np.array([city for _, city in stores], dtype=object)[store]
    return rows(done.at // 1000 * 1000, type=kind, store=names, city=cities, **columns)


def _as_typed(rng: np.random.Generator, phones: Objects) -> Objects:
    """Phones as tills hold them: spaced, with a country code, masked, eaten by a spreadsheet, or of a delivery app."""
    draw, out = rng.random(len(phones)), phones.copy()
    for low, high, form in _FORMS:
        for index in np.flatnonzero((draw >= low) & (draw < high) & present(phones)):
            out[index] = form(str(phones[index]))
    return out


_FORMS = (
    (0.00, 0.10, lambda phone: f"{phone[:3]} {phone[3:7]} {phone[7:]}"),
    (0.10, 0.16, lambda phone: f"+86 {phone}"),
    (0.16, 0.18, lambda phone: f"{phone[:3]}****{phone[7:]}"),
    (0.18, 0.19, lambda phone: f"{float(phone):.2E}"),
    (0.19, 0.195, lambda phone: f"{phone}-{phone[-4:]}"),
    (0.195, 0.20, lambda phone: phone.translate({ord(str(n)): chr(0xFF10 + n) for n in range(10)})),
)
