"""Puts the explanation of one person into sentences that can be read aloud, in Chinese and English.

Not here: gathering it (`person.py`), and the page around it (`person_page.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestration.consent.answers.wording import Language
from orchestration.evidence.labels import Text
from orchestration.evidence.person import AtController, Person
from orchestration.evidence.sentences import NOTHING, Speaker
from orchestration.policy.schema import Policy

Row = dict[str, Any]
Sentence = tuple[Text, tuple[Text, ...]]  # what is said, and what is said below it


@dataclass(frozen=True)
class Verdict:
    """One purpose or segment: yes or no, the sentence, and those below it."""

    is_in: bool
    sentence: Text
    below: tuple[Text, ...]


@dataclass(frozen=True)
class Told:
    """What one controller has to say."""

    controller: Text
    is_known: bool
    has_news: bool  # since the build
    summary: tuple[Text, ...]
    segments: tuple[Verdict, ...]
    purposes: tuple[Verdict, ...]
    identifiers: tuple[Text, ...]
    links: tuple[Text, ...]
    events: tuple[Text, ...]
    since: tuple[Text, ...]
    delivered: tuple[Text, ...]
    touchpoints: tuple[Row, ...]


def tell(person: Person, speaker: Speaker) -> tuple[Text, tuple[Told, ...]]:
    """The sentence about the basis and the identifier, and what each controller says."""
    basis, say = person.basis, speaker.say
    which = {"published": "basis", "kept": "basis_kept", "replayed": "basis_replayed"}[basis.source]
    first = _joined(
        say("asked", kind=speaker.name(person.kind, "kind"), issuer=person.issuer),
        say(which, as_of=speaker.time(basis.as_of), known_at=speaker.time(basis.known_at)),
    )
    return first, tuple(_tell(at, speaker) for at in person.at)


def _tell(at: AtController, speaker: Speaker) -> Told:
    return Told(
        controller=speaker.name(at.controller, "controller"),
        is_known=bool(at.identifiers),
        has_news=bool(at.since_build),
        summary=tuple(_summary(at, speaker)),
        segments=tuple(_segment(row, speaker) for row in at.segments),
        purposes=tuple(_purpose(row, speaker) for row in at.purposes),
        identifiers=tuple(_identifier(row, speaker) for row in at.identifiers),
        links=tuple(_link(row, speaker) for row in at.links),
        events=tuple(_event(row, speaker) for row in at.events),
        since=tuple(_event(row, speaker) for row in at.since_build) or (speaker.say("nothing_since"),),
        delivered=tuple(_delivered(row, speaker) for row in at.delivered) or (speaker.say("never_delivered"),),
        touchpoints=at.touchpoints,
    )


def _summary(at: AtController, speaker: Speaker) -> Iterator[Text]:
    say, controller = speaker.say, speaker.name(at.controller, "controller")
    same = [row for row in at.identifiers if row["is_same_person"]]
    if not at.identifiers:
        yield say("unknown", controller=controller)
        if at.since_build:
            yield say("unknown_since", number=len(at.since_build))
        return
    if at.status == "ambiguous_identity":
        yield say("ambiguous", people=at.people_reached)
        return
    if at.status != "person":
        yield say("unresolved")
        return
    yield (
        say("person", controller=controller, number=len(same))
        if len(same) > 1
        else say("person_one", controller=controller)
    )
    if not at.is_joined and len(at.identifiers) > len(same):
        yield say("not_joined", number=len(at.identifiers) - len(same))
    if at.stage is not None:
        which = "stage" if at.stage["is_open"] else "stage_closed"
        yield say(which, stage=speaker.name(at.stage["stage"], "stage"))
    inside = sum(row["is_member"] for row in at.segments)
    yield say("in_counts", inside=inside, segments=len(at.segments))


def _segment(row: Row, speaker: Speaker) -> Verdict:
    segment, say = speaker.name(row["segment"], "segment"), speaker.say
    if not row["is_member"]:
        return Verdict(False, say("out_of_segment", segment=segment, reason=speaker.reason(row["reason"])), ())
    seq = row["admitted_by"]
    below = [say("admitted_by_silence") if seq is None else say("admitted", seq=str(seq))]
    below += [_destination(place, speaker) for place in row["destinations"]]
    return Verdict(True, say("in_segment", segment=segment), tuple(below))


def _destination(place: Row, speaker: Speaker) -> Text:
    destination = speaker.name(place["destination"], "destination")
    if place["reason"] is not None:
        which = "stays_since" if place["since_build"] else "stays"
        return speaker.say(which, destination=destination, reason=speaker.reason(place["reason"]))
    leaves, file = speaker.say("leaves", destination=destination), place["file"]
    if file is None:
        return _joined(leaves, speaker.say("no_file"))
    return leaves if file["status"] == "written" else _joined(leaves, speaker.say("file_withheld"))


def _purpose(row: Row, speaker: Speaker) -> Verdict:
    purpose, say = speaker.name(row["purpose"], "purpose"), speaker.say
    below = tuple(_scope(scope, speaker) for scope in row["scopes"])
    if row["is_permitted"]:
        return Verdict(True, say("permitted", purpose=purpose), below)
    return Verdict(False, say("refused", purpose=purpose, reason=speaker.reason(row["reason"])), below)


def _scope(scope: Row, speaker: Speaker) -> Text:
    category, say = speaker.labels(scope["category"]), speaker.say
    if scope["reason"] is None:
        until = _until(scope["consent_until"], speaker)
        said = say("scope_permitted", category=category, until=until)
    else:
        said = say("scope_refused", category=category, reason=speaker.reason(scope["reason"]))
    if scope["decided_by"] is not None:
        which = "admitted" if scope["reason"] is None else "decided"
        said = _joined(said, say(which, seq=str(scope["decided_by"])))
    return say("scope_own", said=said) if scope["is_own"] else said


def _until(value: str | None, speaker: Speaker) -> Text:
    return speaker.say("until", at=speaker.time(value)) if value else NOTHING


def _identifier(row: Row, speaker: Speaker) -> Text:
    text = speaker.say(
        "identifier",
        kind=speaker.name(row["kind"], "kind"),
        issuer=row["issuer"],
        strength=speaker.say("strong" if row["is_strong"] else "weak"),
    )
    marks = [
        speaker.say(mark)
        for mark, holds in (
            ("this_one", row["is_asked"]),
            ("shared", row["is_ambiguous"]),
            ("another", not row["is_same_person"] and not row["is_ambiguous"]),
        )
        if holds
    ]
    return Text("；".join([text.zh, *(m.zh for m in marks)]), "; ".join([text.en, *(m.en for m in marks)]))


def _link(row: Row, speaker: Speaker) -> Text:
    return speaker.say(
        "unlink" if row["is_unlinked"] else "link",
        kind_a=speaker.name(row["kind_a"], "kind"),
        kind_b=speaker.name(row["kind_b"], "kind"),
        at=speaker.time(row["linked_at"]),
        method=speaker.name(row["method"], "word", "unknown_link"),
    )


EVENTS = {
    "consent": "event_consent", "consent_events": "event_consent", "contract": "event_contract",
    "contracts": "event_contract", "status": "event_status", "statuses": "event_status", "age": "event_age",
    "ages": "event_age", "permissions": "event_permission", "links": "event_link",
}  # fmt: skip


def _event(row: Row, speaker: Speaker) -> Text:
    which = EVENTS[row["type"]]
    state = row.get("state") or row.get("decision")
    if which == "event_status" and state == "off":
        which = "event_status_off"
    values: dict[str, Text | str | int] = {
        "seq": str(row["seq"]),
        "at": speaker.time(row["effective_at"]),
        "recorded": speaker.time(row["recorded_at"]),
    }
    said = speaker.say(which, **values, **_parts(which, row, speaker))
    if row.get("kind") is None:
        return said
    kind = speaker.name(row["kind"], "kind")
    return _joined(said, speaker.say("said_on", kind=kind, issuer=row["issuer"] or ""))


def _parts(which: str, row: Row, speaker: Speaker) -> dict[str, Text | str | int]:
    if which == "event_consent":
        purpose = row.get("purpose")
        return {
            "purpose": speaker.name(purpose, "purpose") if purpose else speaker.say("any_purpose"),
            "decision": speaker.name(row["decision"], "word"),
            "method": speaker.name(row.get("method"), "word", "unknown_method"),
            "feed": speaker.name(row.get("feed"), "feed"),
            "notice": _notice(row, speaker),
        }
    if which == "event_link":
        kinds = {f"kind_{end}": speaker.name(row[f"kind_{end}"], "kind") for end in ("a", "b")}
        return {**kinds, "state": speaker.name("unlinked" if row["is_unlink"] else "linked", "word")}
    if which == "event_permission":
        return {"channel": speaker.labels(row["channel"] or ""), "state": speaker.name(row["state"], "word")}
    until = row.get("valid_until") or row.get("minor_until")
    if which == "event_age":
        return {"until": speaker.time(until)}
    fact = speaker.name(row.get("fact") or row.get("status"), "fact")
    return {"fact": fact, "until": _until(until, speaker)} if which == "event_contract" else {"fact": fact}


def _notice(row: Row, speaker: Speaker) -> Text:
    if row.get("notice_id") is None:
        return NOTHING
    notice = speaker.name(row["notice_id"], "notice")
    return speaker.say("notice", notice=notice, version=row.get("notice_version") or "?")


def _delivered(row: Row, speaker: Speaker) -> Text:
    return speaker.say(
        "delivered" if row["what"] == "deliveries" else "removed",
        at=speaker.time(row["at"]),
        segment=speaker.name(row["segment"], "segment"),
        destination=speaker.name(row["destination"], "destination"),
    )


def _joined(*texts: Text) -> Text:
    zh = "".join(text.zh for text in texts)
    return Text(zh, " ".join(text.en for text in texts if text.en))


def lines(person: Person, policy: Policy, language: Language) -> list[str]:
    """The answer as lines in one language."""
    speaker = Speaker(policy)
    first, controllers = tell(person, speaker)

    def one(text: Text) -> str:
        return text.zh if language == "zh-CN" else text.en

    found = [one(first)]
    for told in controllers:
        found += ["", *map(one, told.summary)]
        if not told.is_known:
            found += [f"  {one(text)}" for text in told.since if told.has_news]
            continue
        for verdict in (*told.segments, *told.purposes):
            found.append(f"  {'+' if verdict.is_in else '-'} {one(verdict.sentence)}")
            found += [f"      {one(text)}" for text in verdict.below]
        for texts in (told.events, told.since, told.delivered, told.identifiers, told.links):
            found += [f"  {one(text)}" for text in texts]
        found += [f"  {one(_counted(row, speaker))}" for row in told.touchpoints]
    return found


def _counted(row: Row, speaker: Speaker) -> Text:
    purpose, source = speaker.name(row["purpose"], "purpose"), speaker.name(row["source"], "source")
    category, reason = speaker.labels(row["category"] or "–"), speaker.reason(row["reason"])
    number = f"{row['touchpoints']:,}"
    return Text(
        f"{purpose.zh}：{source.zh}，{category.zh}，{reason.zh}：{number}",
        f"{purpose.en}: {source.en}, {category.en}, {reason.en}: {number}",
    )
