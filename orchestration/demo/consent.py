"""What the people of the demo world agreed to, refused and took back: a realistic mix, with every kind of doubt.

Not here: single stories that a test can name (`personas.py`) and how a record is written (`records.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestration.demo.online import Visitors
from orchestration.demo.population import People
from orchestration.demo.records import History, Notices, subjects
from orchestration.demo.rows import DAY, HOUR, SECOND, Bools, Calendar, Ints, Objects, Rows, present, stream
from orchestration.demo.wechat import followed_in_range
from orchestration.policy.schema import Policy

LATE_SHARE = 0.04  # of the records reach us up to ten days late, and so out of order
# purpose → (share of the people asked who agree, share of the others who say no rather than nothing)
MIX = {
    "identity": (0.93, 0.3), "sms_marketing": (0.66, 0.35), "email_marketing": (0.64, 0.3),
    "personalisation": (0.68, 0.2), "mass_content": (0.45, 0.2), "partner_sharing": (0.38, 0.4),
    "registration": (0.9, 0.1), "full_profile": (0.62, 0.1), "advocacy": (0.12, 0.05),
}  # fmt: skip
# purpose → share of the grants that are taken back within the world's days
TAKEN_BACK = {"identity": 0.012, "sms_marketing": 0.08, "email_marketing": 0.06, "personalisation": 0.04}


PARTS: tuple[dict[str, Any], ...] = ({}, {"category": "sensitive"})  # what is not sensitive, and what is


class ConsentWorld:
    """Writes the consent history of a population; `rows` is the result."""

    def __init__(self, seed: int, calendar: Calendar, policy: Policy, people: People) -> None:
        self._seed, self._calendar, self._people = seed, calendar, people
        self._rng = stream(seed, "consent")
        self._notices = Notices.of(policy)
        self._history = History(calendar)
        self._person = _first_present(
            subjects("account", "shop", people.account),
            subjects("unionid", "open.shop", people.unionid),
            subjects("member", "loyalty", people.member),
        )
        self._member = subjects("member", "loyalty", people.member)
        self._asked_at = self._ask()
        draw = self._rng.random((4, people.count))
        self._answered = draw[0] < 0.95
        self._is_californian = draw[1] < 0.02
        self._is_minor = (draw[2] < 0.015) & ~self._is_californian
        self._has_guardian = self._is_minor & (draw[3] < 0.5)

    def rows(self, visitors: Visitors) -> Rows:
        """Every record of the history, in the order of writing."""
        self._ages()
        self._grants()
        self._opt_outs()
        self._clinic()
        self._contracts_and_statuses()
        self._platform()
        self._banners(visitors)
        return self._history.rows()

    def _ask(self) -> Ints:
        """When each person was asked: most before the world's days, some during them."""
        count, calendar = self._people.count, self._calendar
        long_ago = calendar.as_of - ((62 + 265 * self._rng.random(count)) * DAY).astype(np.int64)
        lately = calendar.start + (self._rng.random(count) * (calendar.as_of - calendar.start - 3 * HOUR)).astype(
            np.int64
        )
        asked = np.where(self._rng.random(count) < 0.86, long_ago, lately)
        return np.maximum(asked, self._notices.first_published("privacy") + HOUR)

    def _give(self, who: Bools, at: Ints, notice: str, subject: Objects | None = None, **same: Any) -> None:
        """One explicit grant for each of `who` under the notice in force; `same` may say otherwise."""
        self._add("consent", who, at, subject, self._notices.shown(notice, at[who]), **_grant(**same))

    def _add(
        self,
        kind: str,
        who: Bools,
        at: Ints,
        subject: Objects | None = None,
        each: list[str] | None = None,
        **same: Any,
    ) -> None:
        when = at[who]
        late = np.where(self._rng.random(len(when)) < LATE_SHARE, self._rng.random(len(when)) * 10 * DAY, 0)
        received = np.minimum(when + late.astype(np.int64), self._calendar.as_of - 1)
        chosen = (self._person if subject is None else subject)[who]
        self._history.add(kind, chosen, when, received, each, **same)

    def _ages(self) -> None:
        grown_up = _iso_day(self._calendar, 900)
        self._add("age", self._is_minor, self._asked_at - SECOND, controller="shop", minor_until=grown_up)

    def _grants(self) -> None:
        count, asked = self._people.count, self._asked_at
        form = self._rng.random(count)  # how the whole act was done, the same for all its purposes
        abroad = self._rng.random(count) < 0.01
        for purpose, (agree, refuse) in MIX.items():
            draw = self._rng.random((4, count))
            here = self._answered & ~self._is_californian
            grants, says_no = here & (draw[0] < agree), here & (draw[0] >= agree) & (draw[1] < refuse)
            self._forms_of_grant(purpose, grants, form, abroad, draw[2])
            self._add("consent", says_no, asked, controller="shop", purpose=purpose, decision="deny",
                      method="explicit_click", surface="app")  # fmt: skip
            if purpose in TAKEN_BACK:
                self._take_back(purpose, grants & (draw[3] < TAKEN_BACK[purpose]))

    def _forms_of_grant(self, purpose: str, grants: Bools, form: Any, abroad: Bools, draw: Any) -> None:
        """Most grants are in order; a few percent each are not explicit, unread, narrow, dated out or a child's."""
        asked, notice = self._asked_at, "partner" if purpose == "partner_sharing" else "privacy"
        base: dict[str, Any] = {"controller": "shop", "purpose": purpose}
        if purpose == "partner_sharing":
            base |= {"recipient": "partner_ads"}
        of_child = grants & self._has_guardian
        grants = grants & ~of_child
        pre_ticked, unread = grants & (form < 0.03), grants & (form >= 0.03) & (form < 0.037)
        plain = grants & (form >= 0.037)
        narrow = plain & (draw < 0.03) & (purpose == "sms_marketing")
        ending = plain & (draw >= 0.03) & (draw < 0.05)
        by_channel = plain & (draw >= 0.05) & (draw < 0.07) & (purpose == "sms_marketing")
        bundled = plain & (draw >= 0.07) & (draw < 0.22) & (purpose == "partner_sharing")
        rest = plain & ~(narrow | ending | by_channel | bundled)
        separate = purpose == "partner_sharing"
        self._give(rest & ~abroad, asked, notice, separate=separate, jurisdiction="CN", **base)
        self._give(rest & abroad, asked, notice, separate=separate, jurisdiction="DE", **base)
        self._give(of_child, asked, notice, separate=True, guardian=True, **base)
        self._give(pre_ticked, asked, notice, method="pre_ticked", separate=separate, **base)
        self._add("consent", unread, asked, **_grant(**base))
        self._give(narrow, asked, notice, category="behaviour", **base)
        ends = _iso_day(self._calendar, -12)
        self._give(ending & (asked < self._calendar.as_of - 12 * DAY), asked, notice, valid_until=ends, **base)
        self._give(by_channel, asked, notice, channel="wechat_oa", **base)
        self._give(bundled, asked, notice, separate=False, **base)

    def _take_back(self, purpose: str, who: Bools) -> None:
        """Withdrawals and objections at some time since, and here and there a new grant some days later."""
        earliest = np.maximum(self._asked_at, self._calendar.start)
        draw = self._rng.random((2, len(who)))
        left = earliest + ((self._calendar.as_of - earliest) * draw[0]).astype(np.int64)
        objects = who & (draw[1] < 0.12)
        same: dict[str, Any] = {"controller": "shop", "purpose": purpose, "surface": "app"}
        self._add("consent", who & ~objects, left, decision="withdraw", method="explicit_click", **same)
        self._add("consent", objects, left, decision="object", method="explicit_click", **same)
        again = left + (8 * DAY * draw[1]).astype(np.int64) + HOUR
        self._give(who & (draw[1] > 0.7) & (again < self._calendar.as_of), again, "privacy", **same)

    def _opt_outs(self) -> None:
        """California: nothing is asked but identity, and some opt out."""
        who, asked = self._is_californian, self._asked_at
        same: dict[str, Any] = {"controller": "shop", "jurisdiction": "US-CA"}
        self._give(who, asked, "privacy", purpose="identity", **same)
        leaves = who & (self._rng.random(len(who)) < 0.3)
        self._add("consent", leaves, np.maximum(asked, self._calendar.start) + HOUR, decision="opt_out",
                  method="explicit_click", purpose="sms_marketing", **same)  # fmt: skip

    def _clinic(self) -> None:
        """Patients: consent to the clinic is its own, mostly separate, and asked again when the notice says so."""
        patients = self._people.is_patient
        asked = np.maximum(self._asked_at, self._notices.first_published("clinic-separate") + HOUR)
        draw = self._rng.random((4, len(patients)))
        self._give(patients & (draw[0] < 0.92), asked, "privacy", self._member, controller="clinic",
                   purpose="identity")  # fmt: skip
        agrees = patients & (draw[1] < 0.78)
        self._recall(agrees, asked, separate=draw[2] < 0.9)
        for published in self._notices.published["clinic-separate"][1:].tolist():
            renewed = published + (4 * DAY * draw[3]).astype(np.int64) + HOUR
            stale = agrees & (asked < published) & (renewed < self._calendar.as_of) & (draw[3] < 0.87)
            self._recall(stale, renewed, separate=draw[2] < 0.9)

    def _recall(self, who: Bools, at: Ints, separate: Bools) -> None:
        for is_separate, some in ((True, who & separate), (False, who & ~separate)):
            for part in PARTS:
                self._give(some, at, "clinic-separate", self._member, controller="clinic", purpose="follow_up",
                           method="signed_form", separate=is_separate, surface="clinic", **part)  # fmt: skip

    def _contracts_and_statuses(self) -> None:
        people, asked = self._people, self._asked_at
        draw = self._rng.random((3, people.count))
        is_member = people.has_member & (draw[0] < 0.9)
        over = _iso_day(self._calendar, -20)
        lapsed = is_member & (draw[1] < 0.05) & (asked < self._calendar.as_of - 20 * DAY)
        same: dict[str, Any] = {"controller": "shop", "fact": "membership"}
        self._add("contract", is_member & ~lapsed, asked, self._member, **same)
        self._add("contract", lapsed, asked, self._member, valid_until=over, **same)
        visits = people.is_patient & (draw[1] > 0.4)
        self._add("contract", visits, asked, self._member, controller="clinic", fact="appointment")
        for status, low, high in (("restricted", 0, 3), ("suppressed", 3, 8), ("legal_hold", 8, 9), ("erased", 9, 11)):
            who = (draw[2] >= low / 1000) & (draw[2] < high / 1000)
            self._add("status", who, np.maximum(asked, self._calendar.start), controller="shop", status=status,
                      state="on")  # fmt: skip

    def _platform(self) -> None:
        """The platform's own lists: who followed before the world began, and which unionid is whose openid."""
        people, before = self._people, self._asked_at
        openid = subjects("openid", "wx-oa-shop", people.openid)
        earlier = people.is_follower & ~followed_in_range(self._seed, people)
        self._add("permission", earlier, before, openid, controller="shop", channel="wechat_oa", state="open")
        listed = people.is_follower & (self._rng.random(people.count) < 0.5)
        others = [f'"other":{{"kind":"unionid","issuer":"open.shop","value":"{v}"}}' for v in people.unionid[listed]]
        self._add("link", listed, before, openid, others, controller="shop", unlink=False)

    def _banners(self, visitors: Visitors) -> None:
        """Answers to the cookie banner, given at the first visit; one a day is the site's own probe."""
        count, calendar = len(visitors.cookie), self._calendar
        cookies = subjects("cookie", "shop.example.com", visitors.cookie)
        draw, at = self._rng.random(count), visitors.first_seen - 5 * SECOND
        same: dict[str, Any] = {"controller": "shop", "purpose": "mass_content", "surface": "web"}
        self._give(draw < 0.60, at, "privacy", cookies, jurisdiction="CN", **same)
        self._add("consent", (draw >= 0.60) & (draw < 0.82), at, cookies, decision="deny", method="explicit_click",
                  **same)  # fmt: skip
        self._give((draw >= 0.82) & (draw < 0.86), at, "privacy", cookies, method="continued_use", **same)
        probes = subjects("cookie", "shop.example.com", np.full(calendar.day_count, "ck.probe", dtype=object))
        noons = calendar.noons()
        self._history.add("consent", probes, noons, noons, decision="deny", method="explicit_click", **same)


def _grant(**same: Any) -> dict[str, Any]:
    return {"decision": "grant", "method": "explicit_click", "separate": False, "guardian": False,
            "surface": "app", "locale": "zh-CN"} | same  # fmt: skip


def _first_present(*choices: Objects) -> Objects:
    out = choices[-1]
    for column in reversed(choices[:-1]):
        out = np.where(present(column), column, out)
    return out


def _iso_day(calendar: Calendar, days: int) -> str:
    """The instant `days` from as_of, as ISO 8601 in UTC."""
    return f"{np.datetime_as_string(np.datetime64(calendar.as_of + days * DAY, 'ms'))}Z"
