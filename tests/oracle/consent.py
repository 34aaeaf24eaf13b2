"""Which consents, contracts and denials are in force for a person at an instant, and the reason where none is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestration.policy.schema import Purpose
from tests.oracle.facts import Contract, Event, Node, World
from tests.oracle.people import resolve

RESTRICTIONS = {
    "deny": "denied",
    "withdraw": "withdrawn",
    "object": "objected",
    "opt_out": "opted_out",
    "presumed_denial": "denied",
}
EXPLICIT = {"explicit_click", "written", "verbal_recorded", "signed_form", "double_opt_in"}
STRICTEST = ["none", "separate_consent", "consent", "contract", "opt_out"]
ALWAYS = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Grant:
    node: Node
    at: datetime
    ends: datetime
    end_reason: str
    problem: str | None
    is_silence: bool = False


@dataclass(frozen=True)
class Denial:
    node: Node
    at: datetime
    reason: str


@dataclass(frozen=True)
class Asked:
    """What is asked for: one purpose's use of one category of data under one controller."""

    controller: str
    purpose: Purpose
    category: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.controller, self.purpose.name, self.category


def basis(world: World, group: Node, purpose: Purpose) -> str:
    """The strictest of the bases that the person's evidenced regimes ask for. Of nobody's jurisdiction, one that policy
    does not list, and one that only a refusal tells, the strictest of all that the purpose states counts too."""
    key = ("basis", group, purpose.name)
    if key not in world.known:
        world.known[key] = _basis(world, group, purpose)
    found: str = world.known[key]
    return found


def _basis(world: World, group: Node, purpose: Purpose) -> str:
    regime_of = {j.code: j.regime for j in world.policy.organisation.jurisdictions}
    told = _evidence(world, group)
    regimes = {regime_of.get(e.jurisdiction or "") for e in told}
    asked: set[str] = {purpose.basis.get(regime, "none") for regime in regimes if regime is not None}
    in_time = [e for e in told if e.effective_at <= world.as_of and not _is_former_holders(world, e)]
    granted = [e for e in in_time if e.decision == "grant"]
    is_evidenced = any(e.jurisdiction in regime_of and _speaks_for(world, e.node, group) for e in granted)
    return strictest(asked if is_evidenced and None not in regimes else asked | stated(world, purpose))


def _speaks_for(world: World, node: Node, group: Node) -> bool:
    """Where a jurisdiction makes the basis laxer, it permits: only a strong identifier says so for the whole person."""
    people = resolve(world)
    return people.group[node] == group and (world.is_strong(node) or len(people.members(group)) == 1)


def stated(world: World, purpose: Purpose) -> set[str]:
    """Every basis that the purpose states, for want of a jurisdiction; opt-out is never assumed, and a default regime
    without a basis denies."""
    found: set[str] = {"consent" if basis == "opt_out" else basis for basis in purpose.basis.values()}
    return found if world.policy.organisation.default_regime in purpose.basis else {*found, "none"}


def strictest(asked: set[str]) -> str:
    """A contract and a consent never stand for each other: where both are asked for, nothing satisfies."""
    return "none" if "contract" in asked and len(asked) > 1 else min(asked, key=STRICTEST.index)


def _evidence(world: World, group: Node) -> list[Event]:
    """The records that tell a jurisdiction, of any identifier that ever touched the person."""
    reaching = resolve(world).reaching(group)
    return [e for e in world.events if e.jurisdiction is not None and e.node in reaching]


def is_minor(world: World, group: Node, at: datetime) -> bool:
    """Below the age at `at`; where records differ, the later birthday; unknown age by policy."""
    known = _minor_until(world, group)
    return at < max(known) if known else world.policy.organisation.unknown_age == "minor"


def _minor_until(world: World, group: Node) -> list[datetime]:
    reaching = resolve(world).reaching(group)
    return [age.minor_until for age in world.ages if age.node in reaching]


def _every_end(world: World, event: Event, purpose: Purpose) -> list[tuple[datetime, str]]:
    """Whatever makes a grant stop counting by itself: when, and why."""
    ends = [(NEVER, "expired")]
    if event.valid_until is not None:
        ends.append((event.valid_until, "expired"))
    if purpose.max_consent_age_days is not None:
        ends.append((event.effective_at + timedelta(days=purpose.max_consent_age_days), "expired"))
    for notice in world.policy.notices.notices:
        published = {v.version: v.published_at for v in notice.versions}
        if notice.id == event.notice_id and event.notice_version in published:
            ends += [
                (v.published_at, "notice_superseded")
                for v in notice.versions
                if v.renews_consent and v.published_at > published[event.notice_version]
            ]
    return ends


def _ends(world: World, event: Event, purpose: Purpose) -> tuple[datetime, str]:
    """The first of them."""
    ends = _every_end(world, event, purpose)
    first = min(at for at, _ in ends)
    reasons = {reason for at, reason in ends if at == first}
    return first, "notice_superseded" if "notice_superseded" in reasons else "expired"


def _problem(world: World, event: Event, asked: Asked, group: Node) -> str | None:
    """Why a grant does not count, the first rule that fails."""
    purpose, needed = asked.purpose, basis(world, group, asked.purpose)
    if is_minor(world, group, event.effective_at) and not event.is_guardian:
        return "minor_without_guardian"
    if needed == "none":
        return "no_consent"
    if needed == "contract":
        return "no_contract"
    if purpose.explicit and event.method not in EXPLICIT:
        return "not_explicit"
    if (asked.category in purpose.separate_consent_for or needed == "separate_consent") and not event.is_separate:
        return "needs_separate_consent"
    published = [
        v.published_at
        for n in world.policy.notices.notices
        for v in n.versions
        if n.id == event.notice_id and v.version == event.notice_version and purpose.name in n.named_by(v)
    ]
    if not published or published[0] > event.effective_at:
        return "notice_unknown"
    over = {why for at, why in _every_end(world, event, purpose) if at <= event.effective_at}
    return next((why for why in ("notice_superseded", "expired") if why in over), None)


def _covers(event: Event, asked: Asked) -> bool:
    """What a grant covers is read narrowly, what a denial covers widely."""
    restricts = event.decision != "grant"  # an unknown decision restricts
    purpose = asked.purpose
    if event.controller != asked.controller:
        return False
    if event.purpose != purpose.name and not (event.purpose is None and restricts):
        return False
    if event.category is not None and event.category != asked.category:
        return False
    if event.category is None and not restricts and (asked.category == "sensitive" or _is_older(event, asked)):
        return False
    if event.recipient is not None:
        return event.recipient == purpose.recipient or (restricts and event.purpose is not None)
    return restricts or purpose.recipient == "own"


def _is_older(event: Event, asked: Asked) -> bool:
    """Was it given before the purpose took the category in? A new use needs a new request (R-35)."""
    return any(c == asked.category and event.effective_at < at for c, at in asked.purpose.category_since.items())


def _grants(world: World, asked: Asked) -> Iterator[Grant]:
    group = resolve(world).group
    for e in world.events:
        in_time = e.effective_at <= world.as_of and not _is_former_holders(world, e)
        if e.decision == "grant" and in_time and _covers(e, asked):
            ends, why = _ends(world, e, asked.purpose)
            yield Grant(e.node, e.effective_at, ends, why, _problem(world, e, asked, group[e.node]))
    for c in world.contracts:
        relevant = c.controller == asked.controller and c.fact in asked.purpose.contract_facts
        in_time = c.effective_at <= world.as_of and not _is_former_holders(world, c)
        if relevant and in_time and basis(world, group[c.node], asked.purpose) == "contract":
            yield Grant(c.node, c.effective_at, c.valid_until or NEVER, "no_contract", _contract_problem(world, c))
    for node, its in group.items():
        if node[0] == asked.controller and _evidence(world, its) and basis(world, its, asked.purpose) == "opt_out":
            yield from _silence(world, node, its, asked)


def _is_former_holders(world: World, record: Event | Contract) -> bool:
    """Was it told before the identifier passed to its present holder?"""
    since = resolve(world).held_since.get(record.node)
    return since is not None and record.effective_at < since


def _silence(world: World, node: Node, group: Node, asked: Asked) -> Iterator[Grant]:
    """In an opt-out regime silence permits: from when the person is of age, and the purpose has the category. It is no
    separate consent."""
    known = _minor_until(world, group)
    of_age = [max(known)] if known and max(known) <= world.as_of else []  # the later birthday, where records differ
    since = [at for category, at in asked.purpose.category_since.items() if category == asked.category]
    begins = max([ALWAYS, *of_age, *since])
    problem = None
    if is_minor(world, group, world.as_of):
        problem = "minor_without_guardian"
    elif asked.category in asked.purpose.separate_consent_for:
        problem = "needs_separate_consent"
    if all(at <= world.as_of for at in since):
        yield Grant(node, begins, NEVER, "expired", problem, is_silence=True)


def _contract_problem(world: World, contract: Contract) -> str | None:
    if is_minor(world, resolve(world).group[contract.node], contract.effective_at):
        return "minor_without_guardian"
    ended = contract.valid_until is not None and contract.valid_until <= contract.effective_at
    return "no_contract" if ended else None


def _denials(world: World, asked: Asked) -> Iterator[Denial]:
    for e in world.events:
        if e.decision == "grant" or e.channel is not None or not _covers(e, asked):
            continue
        needed = basis(world, resolve(world).group[e.node], asked.purpose)
        if needed == "contract" and e.purpose is None and e.decision != "presumed_denial":
            continue  # refusing everything is refusing consent; a contract's messages are refused by name
        reason = "opted_out" if needed == "opt_out" else RESTRICTIONS.get(e.decision, "denied")
        yield Denial(e.node, min(e.effective_at, world.as_of), reason)


def on_record(world: World, asked: Asked) -> tuple[list[Grant], list[Denial]]:
    """Every grant and denial of what is asked."""
    key = ("on_record", asked.key)
    if key not in world.known:
        world.known[key] = list(_grants(world, asked)), list(_denials(world, asked))
    found: tuple[list[Grant], list[Denial]] = world.known[key]
    return found


def state(world: World, people: set[Node], own: Node, asked: Asked, at: datetime) -> str | None:
    """The reason at `at` for the person `people` seen through the identifier `own`; None permits."""
    grants, denials = on_record(world, asked)
    every = [g for g in grants if g.at <= at]
    counting = [g for g in every if g.node in people and (world.is_strong(g.node) or g.node == own)]
    good = [g for g in counting if g.problem is None]
    outstanding = [
        (d.at, d.reason)
        for d in denials
        if d.at <= at and _reaches(world, d.node, own) and not _is_lifted(world, d, good, every)
    ]
    if outstanding:
        return max(outstanding)[1]
    ordered = sorted(good, key=lambda g: (g.at, NEVER - g.ends))  # of two at one instant, the shorter holds
    if ordered and at < ordered[-1].ends:
        return None
    if any(g.is_silence for g in good) and not any(d.at <= at and _reaches(world, d.node, own) for d in denials):
        return None  # a consent that ended is no stricter than silence, while nothing was ever refused
    marks = [(g.at, 1, g.problem) for g in counting if g.problem is not None]
    for index, g in enumerate(ordered):
        replaced = ordered[index + 1].at if index + 1 < len(ordered) else NEVER
        if g.ends <= at and g.ends <= replaced:
            marks.append((g.ends, 0, g.end_reason))
    return max(marks)[2] if marks else "no_consent"


def _reaches(world: World, node: Node, own: Node) -> bool:
    return resolve(world).group[own] in resolve(world).reach[node]


def _is_lifted(world: World, denial: Denial, good: list[Grant], every: list[Grant]) -> bool:
    """By a later grant of a strong identifier of the person, or of the same weak identifier where a weak one denied; by
    no silence, whenever it begins."""
    good, every = ([g for g in grants if not g.is_silence] for grants in (good, every))
    if any(denial.at < g.at and world.is_strong(g.node) for g in good):
        return True
    weak = not world.is_strong(denial.node) and denial.node not in resolve(world).shared
    return weak and any(denial.at < g.at and g.node == denial.node and g.problem is None for g in every)
