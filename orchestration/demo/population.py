"""The people of the demo world: who they are, by which identifiers they are known, and how they behave.

Everything is a column over people. Not here: what they do (`online.py`, `wechat.py`, `tills.py`) and agree to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestration.demo.rows import Bools, Objects, present, stream, where

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平"
STORES = (
    ("store-xuhui", "上海"), ("store-tianhe", "广州"), ("store-chaoyang", "北京"),
    ("store-jinniu", "成都"), ("store-xihu", "杭州"),
)  # fmt: skip
CLINICS = (("clinic-jingan", "上海"), ("clinic-pudong", "上海"), ("clinic-yuexiu", "广州"))
TIERS = ("普通", "银卡", "金卡")
FIRST_PHONE = 13_901_000_000  # personas live below, at 139 0000 0xxx


@dataclass(frozen=True)
class People:
    """One row per person; identifier columns are None where the person has none."""

    count: int
    account: Objects
    email: Objects
    phone: Objects
    cookie: Objects
    device: Objects
    push: Objects
    unionid: Objects
    openid: Objects
    mp_openid: Objects
    member: Objects
    name: Objects
    birthday: Objects
    tier: Objects
    has_web: Bools
    has_app: Bools
    has_wechat: Bools
    has_member: Bools
    is_patient: Bools
    is_shopper: Bools  # also buys online
    is_follower: Bools
    home_store: NDArray[np.int64]  # index into STORES
    clinic: NDArray[np.int64]  # index into CLINICS
    activity: NDArray[np.float64]  # 1 on average
    spend: NDArray[np.float64]  # the usual price of a purchase


def people(seed: int, count: int) -> People:
    """`count` people, the same for the same seed."""
    rng = stream(seed, "population")
    draw = rng.random((10, count))
    has_web, has_app, has_wechat = draw[0] < 0.70, draw[1] < 0.62, draw[2] < 0.68
    is_patient = draw[3] < 0.16
    has_member = (draw[4] < 0.76) | is_patient | ~(has_web | has_app | has_wechat)
    is_follower = has_wechat & (draw[5] < 0.82)
    online = has_web | has_app
    big_spender = draw[7] < 0.30
    return People(
        count=count,
        account=_ids("u%08d", count, online),
        email=_ids("user%d@example.com", count, has_web),
        phone=_phones(rng, count),
        cookie=_ids("ck.%08x", count, has_web, step=2_654_435_761),
        device=_shared(rng, _ids("dv-%08x", count, has_app, step=40_503), has_app, 0.02),
        push=_ids("pt:%010x", count, has_app & (draw[8] < 0.85), step=69_069),
        unionid=_ids("oU%010x", count, has_wechat, step=7_919),
        openid=_ids("oA%010x", count, is_follower, step=104_729),
        mp_openid=_ids("oM%010x", count, has_wechat, step=15_485_863),
        member=_ids("M1%07d", count, has_member),
        name=_names(rng, count),
        birthday=_birthdays(rng, count),
        tier=np.array(TIERS, dtype=object)[np.searchsorted([0.6, 0.88], draw[9])],
        has_web=has_web, has_app=has_app, has_wechat=has_wechat, has_member=has_member,
        is_patient=is_patient,
        is_shopper=online & (draw[6] < 0.20),
        is_follower=is_follower,
        home_store=rng.integers(0, len(STORES), count),
        clinic=rng.integers(0, len(CLINICS), count),
        activity=0.3 + 1.4 * rng.random(count),
        spend=np.where(big_spender, 1900.0, 180.0) * (0.6 + 0.8 * rng.random(count)),
    )  # fmt: skip


def _ids(pattern: str, count: int, has: Bools, step: int = 1) -> Objects:
    """Ids by number; an odd `step` scatters the number over 32 bits without collisions."""
    numbers = np.arange(count, dtype=np.int64) * step % 2**32
    out = np.empty(count, dtype=object)
    out[:] = [pattern % number for number in numbers.tolist()]
    return where(has, out)


def _shared(rng: np.random.Generator, ids: Objects, has: Bools, share: float) -> Objects:
    """Some people use the identifier of the one before them: a family's tablet, a couple's phone."""
    before = np.roll(ids, 1)
    shares = (rng.random(len(ids)) < share) & has & present(before)
    return np.where(shares, before, ids)


def _phones(rng: np.random.Generator, count: int) -> Objects:
    out = np.empty(count, dtype=object)
    out[:] = [str(FIRST_PHONE + number) for number in range(count)]
    return _shared(rng, out, np.ones(count, dtype=bool), 0.015)


def _names(rng: np.random.Generator, count: int) -> Objects:
    family = np.array(list(SURNAMES), dtype=object)[rng.integers(0, len(SURNAMES), count)]
    given = np.array(list(GIVEN), dtype=object)
    return np.asarray(family + given[rng.integers(0, len(GIVEN), count)] + given[rng.integers(0, len(GIVEN), count)])


def _birthdays(rng: np.random.Generator, count: int) -> Objects:
    days = np.datetime64("1965-01-01") + rng.integers(0, 40 * 365, count).astype("timedelta64[D]")
    return np.datetime_as_string(days).astype(object)
