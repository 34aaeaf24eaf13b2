"""What a request does at once: it is recorded, use stops, it is confirmed, undone or answered. All in the ledger first.

Use stops by a `status` of every identifier of the person, which the next export reads at its last mile. Not here: the
removal of bytes (`erasure.py`), reading who asks (`commands_request.py`)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb

from orchestration.atomic import write_bytes, write_json
from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import DESK, Record, Subject, moment
from orchestration.errors import AssentError
from orchestration.exports.suppression import emit_suppression_files, recall_suppression_files
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.policy.schema import Policy
from orchestration.retention.requests import Kind, Named, Person, Request, RequestLog
from orchestration.retention.steps import Steps
from orchestration.retention.subject import Kept, count_kept, select_person
from orchestration.retention.suppressions import Suppressions
from orchestration.settings import IN_HOME, LedgerAt

STOPS_USE: tuple[Kind, ...] = ("erasure", "restriction", "rectification")  # what is disputed is not used meanwhile
Status = Literal["restricted", "erased"]
TICK = timedelta(microseconds=1)  # at equal times the stricter wins, so what lifts comes after
OF_FEEDS: dict[str, Kind] = {  # what a record of the ledger asks for → the kind of request
    "erasure": "erasure",
    "access": "access",
    "portability": "access",
    "rectification": "rectification",
    "restriction": "restriction",
    "objection": "restriction",
}


@dataclass(frozen=True)
class Site:
    """Everything that acting on requests needs."""

    home: Home
    policy: Policy
    keys: Keys
    ledger_at: LedgerAt = IN_HOME

    @property
    def controllers(self) -> list[str]:
        return [controller.name for controller in self.policy.organisation.controllers]


def receive(site: Site, kind: Kind, asked: Subject, *, now: datetime) -> tuple[Request, Kept]:
    """Records a request told to somebody of the company, and stops use: also while a build holds the home."""
    person = select_person(site.home, asked)
    with open_ledger(site.home, site.keys, site.ledger_at) as (ledger, registry):
        records = [_request_record(kind, asked, controller, now) for controller in site.controllers]
        return _receive(site, ledger, registry, kind, person, records, now, feed=DESK)


def take(site: Site, *, now: datetime) -> list[Request]:
    """Opens a request for each that a consent feed has brought (OpenDSR, platforms), once. The clock runs since the
    person asked. Who is shared by several, or unknown by now, is left to staff: `consent requests` lists all."""
    taken: list[Request] = []
    with open_ledger(site.home, site.keys, site.ledger_at) as (ledger, registry):
        with RequestLog(site.home, registry) as log:
            known = log.known_events()
        for row in ledger.subject_requests():
            subject = registry.named([row["subject_ref"]]).get(row["subject_ref"])
            if row["event_key"] in known or row["feed"] == DESK or subject is None or row["fact"] not in OF_FEEDS:
                continue
            try:
                person = select_person(site.home, Subject(*subject))
            except AssentError:
                continue
            at, feed = moment(row["effective_at"]), (row["feed"], row["event_key"])
            request, _ = _receive(
                site, ledger, registry, OF_FEEDS[row["fact"]], person, [], now, feed=feed[0], key=feed[1], since=at
            )
            taken.append(request)
    return taken


def _receive(
    site: Site,
    ledger: Ledger,
    registry: SubjectRegistry,
    kind: Kind,
    person: Person,
    records: Sequence[Record],
    now: datetime,
    *,
    feed: str,
    key: str | None = None,
    since: datetime | None = None,
) -> tuple[Request, Kept]:
    stops = kind in STOPS_USE
    statuses = _statuses(site, person, "restricted", "on", now) if stops else []
    ledger.append([*records, *statuses], now)  # first: a kill after it leaves use stopped, and no request yet
    with RequestLog(site.home, registry) as log:
        due_days = site.policy.retention.requests.due_days
        name = log.receive(kind, person, now=since or now, due_days=due_days, feed=feed, event_key=key)
        if stops:
            log.note(name, "use_stopped", now, {"ledger_seq": ledger.head()[0]})
        request = log.get(name)
    with suppress(OSError, duckdb.Error):
        return request, count_kept(site.home, site.policy, site.keys, ledger, registry, person)
    raise AssentError(
        "the request is recorded, but what is kept cannot be counted now: a build is writing",
        where=name,
        remedy="`assent request confirm` with its id shows it; nothing has to be asked again",
    )


def confirm(site: Site, name: str, *, now: datetime, undo_now: bool = False) -> tuple[Request, Kept]:
    """The second step of an erasure: the person is erased for every decision, destinations get their suppression files,
    and the time to undo begins. With `undo_now` it ends at once."""
    with site.home.lock(), _desk(site) as (ledger, registry, log):
        request, person = log.get(name), log.person(name)
        _require(request, "erasure", ("received", "use_stopped", "logically_erased"))
        ledger.append(_statuses(site, person, "erased", "on", now), now)
        kept = count_kept(site.home, site.policy, site.keys, ledger, registry, person)
        if request.state != "logically_erased":
            sent = emit_suppression_files(site.home, site.policy, site.keys, name, person.tokens, now=now)
            log.confirm(name, person, now if undo_now else _undo_until(site, sent, now))
            evidence = {"ledger_seq": ledger.head()[0], "selected": kept.as_json(), "recipients": sent}
            log.note(name, "logically_erased", now, evidence)
        elif undo_now:
            log.end_undo(name, now)
        return log.get(name), kept


def _undo_until(site: Site, recipients: Sequence[Mapping[str, Any]], now: datetime) -> datetime:
    """When the time to undo is over: as policy says, and not before recipients had theirs to fetch what to suppress."""
    expire = [datetime.fromisoformat(one["expires_at"]) for one in recipients if one["listed"]]
    return max([now + timedelta(days=site.policy.retention.requests.undo_days), *expire])


def undo(site: Site, name: str, *, now: datetime) -> Request:
    """Lifts an erasure within its time, or a restriction: the tombstone says whose. Grants are not touched: what the
    person had permitted counts again."""
    with site.home.lock(), _desk(site) as (ledger, registry, log):
        request, person = log.get(name), log.person(name)
        if request.kind == "access" or request.state not in ("use_stopped", "logically_erased"):
            raise AssentError(f"there is nothing to undo: {request.state}", where=name)
        if request.undo_until is not None and now >= request.undo_until:
            raise AssentError("the time to undo it is over", where=name, remedy="Nothing brings the person back")
        with Steps(site.home) as steps:
            if steps.is_begun(name):
                raise AssentError("the erasure has begun", where=name, remedy="Nothing brings the person back")
        at = max(now, *(one.at + TICK for one in request.states))
        statuses: list[Status] = ["restricted", "erased"] if request.undo_until else ["restricted"]
        lifted = [(status, _alone(ledger, registry, log, name, person, status)) for status in statuses]
        ledger.append([r for status, whose in lifted for r in _statuses(site, whose, status, "off", at)], now)
        recall_suppression_files(site.home, name)
        log.note(name, "undone", now, {"ledger_seq": ledger.head()[0]})
        log.destroy_tombstone(name)
        return log.get(name)


def answer(site: Site, name: str, evidence: dict[str, Any], *, now: datetime) -> Request:
    """Notes that a person was answered: access was given, a rectification made. A restriction for a rectification is
    lifted."""
    with site.home.lock(), _desk(site) as (ledger, registry, log):
        request = log.get(name)
        if request.kind not in ("access", "rectification") or not request.is_open:
            raise AssentError(f"{request.kind} in state {request.state} is not answered so", where=name)
        if request.kind == "rectification":
            at = max(now, *(one.at + TICK for one in request.states))
            lifted = _alone(ledger, registry, log, name, log.person(name), "restricted")
            ledger.append(_statuses(site, lifted, "restricted", "off", at), now)
        log.note(name, "answered", now, evidence)
        log.destroy_tombstone(name)
        return log.get(name)


def _alone(
    ledger: Ledger, registry: SubjectRegistry, log: RequestLog, name: str, person: Person, status: Status
) -> Person:
    """The person with those identifiers only that nothing else gives `status`: neither another request, nor a feed that
    said so last. A request that ends must not lift what another asked for."""
    states = ("logically_erased",) if status == "erased" else ("use_stopped", "logically_erased")
    others = [one for one in log.all() if one.id != name and one.kind in STOPS_USE and one.state in states]
    stopped = {token for one in others if one.has_tombstone for token in log.person(one.id).tokens}
    rows = ledger.subject_rows(registry.refs_of(person.tokens))
    said = {
        (row["subject_ref"], row["feed"], row["controller"]): row["state"]
        for row in sorted(rows, key=lambda row: (row["effective_at"], row["state"] == "on"))
        if row["type"] == "status" and row["feed"] != DESK and row["fact"] == status
    }
    refs = {ref for (ref, _, _), state in said.items() if state != "off"}
    stopped |= {token for token, _, _ in registry.named(refs).values()}
    return replace(person, identifiers=tuple(one for one in person.identifiers if one.token not in stopped))


@contextmanager
def _desk(site: Site) -> Iterator[tuple[Ledger, SubjectRegistry, RequestLog]]:
    at = site.ledger_at
    with open_ledger(site.home, site.keys, at) as (ledger, registry), RequestLog(site.home, registry) as log:
        yield ledger, registry, log


def readmit(site: Site, subject: Subject, *, now: datetime) -> int:
    """Takes again what comes of an identifier that was erased: the person has come back, and says so. What was erased
    stays gone. How many identifiers: 0 where it was not erased."""
    with site.home.lock(), open_ledger(site.home, site.keys, site.ledger_at) as (_, registry):
        anchor = Anchor(site.home, site.keys, site.ledger_at)
        with anchor.writing(registry, now):
            return Suppressions(site.home, site.keys, anchor).lift([subject.token])


def answer_access(site: Site, name: str, folder: Path, *, now: datetime) -> tuple[Request, list[Path]]:
    """Writes everything that is known about the person into `folder`, as JSON and as a page, and notes that they were
    answered. Refuses a folder in the home: what is in a home is no answer, and would be searched and backed up."""
    from orchestration.retention.access import gather
    from orchestration.retention.access_page import render_access

    if folder.resolve().is_relative_to(site.home.root.resolve()):
        raise AssentError("an answer does not lie in the home", where=str(folder), remedy="Choose another folder")
    with _desk(site) as (_, _registry, log):
        _require(log.get(name), "access", ("received",))
        person = log.person(name)
    access = gather(site, person, now=now)
    paths = [folder / f"{name}.json", folder / f"{name}.html"]
    write_json(paths[0], access.as_json())
    write_bytes(paths[1], render_access(site.policy, access).encode())
    told = {"touchpoints": len(access.touchpoints), "records": len(access.consents)}
    return answer(site, name, {**told, "recipients": len(access.recipients)}, now=now), paths


def log_of(site: Site) -> list[Request]:
    """Every request, the oldest first."""
    with SubjectRegistry(site.home, site.keys) as registry, RequestLog(site.home, registry) as log:
        return log.all()


def find(site: Site, name: str) -> Request:
    with SubjectRegistry(site.home, site.keys) as registry, RequestLog(site.home, registry) as log:
        return log.get(name)


def show(site: Site, name: str) -> tuple[Request, Kept]:
    """A request and what is kept of the person now."""
    with (
        open_ledger(site.home, site.keys, site.ledger_at) as (ledger, registry),
        RequestLog(site.home, registry) as log,
    ):
        request, person = log.get(name), log.person(name)
        return request, count_kept(site.home, site.policy, site.keys, ledger, registry, person)


def _require(request: Request, kind: Kind, states: tuple[str, ...]) -> None:
    if request.kind != kind or request.state not in states:
        raise AssentError(f"the request is {request.kind}, {request.state}", where=request.id)


def _request_record(kind: Kind, asked: Subject, controller: str, now: datetime) -> Record:
    return Record(
        event_id=str(uuid.uuid4()),
        type="request",
        feed=DESK,
        effective_at=now,
        subject=asked,
        controller=controller,
        fact=kind,
        state="received",
    )


def _statuses(site: Site, person: Person, status: Status, state: Literal["on", "off"], at: datetime) -> list[Record]:
    """Of every identifier that is the person alone, under every controller: a status on a shared one would stop
    others."""
    return [
        Record(
            event_id=str(uuid.uuid4()),
            type="status",
            feed=DESK,
            effective_at=at,
            subject=_subject(one),
            controller=controller,
            fact=status,
            state=state,
        )
        for one in person.identifiers
        for controller in site.controllers
    ]


def _subject(one: Named) -> Subject:
    return Subject(one.token, one.kind, one.issuer)
