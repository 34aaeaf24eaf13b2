"""Cross-checks feeds of consent signals: whom a payload names, and what its answers say of our scopes."""

from __future__ import annotations

import re
from typing import Any

from orchestration.consent.feeds.judge import PERMITTED, REQUESTS, known_values
from orchestration.consent.feeds.signatures import PLACE
from orchestration.consent.signals.registry import STRINGS
from orchestration.policy import schema
from orchestration.policy.check_sources import FILE, Path_
from orchestration.policy.findings import Findings

OF_EACH_SIGNAL = ("type", "subject_kind", "subject_issuer", "subject_value")  # given by subjects and rules
SETTABLE = ("type", "controller", "purpose", "category", "recipient", "channel", "fact", "status", "separate", "fields")
TYPES = ("consent", "permission", "request", "status")
NEEDED = {"consent": "purpose", "permission": "channel", "request": "fact", "status": "status"}
CONSENT_OF_VENDOR = re.compile(r"(tcfeu2\.)?vendor\.\d+\.purpose\.\d+")
CONSENT_OF_PURPOSE = re.compile(r"(tcfeu2\.)?(purpose|purpose_li)\.\d+")


def check_signal(policy: schema.Policy, found: Findings, feed: schema.ConsentFeed, at: Path_) -> None:
    if feed.signal is None:
        found.add(FILE, at, "a signal feed needs `signal:`", "Name the format, such as tcf")
        return
    if (feed.signal in STRINGS) != (feed.encoded is not None):
        remedy = "Name the value that holds it" if feed.signal in STRINGS else "Remove it"
        found.add(
            FILE,
            (*at, "encoded"),
            f"`encoded:` is where the string of a {', '.join(sorted(STRINGS))} signal is",
            remedy,
        )
    if "rows" in feed.marker_states:
        found.add(FILE, (*at, "marker_states"), "the rows of a signal are not its payloads", "State its sha256")
    if feed.signature is not None and (feed.body is None or feed.shape not in ("json", "jsonl")):
        remedy = "Keep each webhook as JSON with its body as text, and name that in `body:`"
        found.add(FILE, (*at, "signature"), "a signature is of a body as it arrived, beside its headers", remedy)
    if not feed.subjects:
        found.add(
            FILE, at, "a signal feed needs `subjects:`", "Say which values name somebody, of which kind and issuer"
        )
    if not feed.rules:
        found.add(FILE, at, "a signal feed needs `rules:`", "Say which codes must be granted for which purpose")
    kinds = {kind.name for kind in policy.organisation.identifier_kinds}
    for place, subject in enumerate(feed.subjects):
        found.known(FILE, (*at, "subjects", place, "kind"), subject.kind, kinds, "identifier kind")
    for place, rule in enumerate(feed.rules):
        _check_rule(policy, found, feed, rule, (*at, "rules", place))


def _check_rule(
    policy: schema.Policy, found: Findings, feed: schema.ConsentFeed, rule: schema.SignalRule, at: Path_
) -> None:
    kind = rule.set.get("type", feed.constants.get("type", "consent"))
    if kind not in TYPES:
        found.add(FILE, (*at, "set"), f"a rule makes no record of type {kind}", f"One of: {', '.join(TYPES)}")
        return
    if NEEDED[kind] not in {*rule.set, *feed.constants}:
        found.add(FILE, (*at, "set"), f"a {kind} needs `{NEEDED[kind]}:`", f"Add `{NEEDED[kind]}:`")
    for name in rule.set.keys() - set(SETTABLE):
        found.add(FILE, (*at, "set", name), f"`{name}` is not for a rule to say", "Make it a column or a constant")
    known: dict[str, Any] = known_values(policy, feed)
    known |= {"fact": REQUESTS} if kind == "request" else {}
    for name, word in rule.set.items():
        if name == "fact" and kind == "permission":
            if not PERMITTED.fullmatch(PLACE.sub("x", word)):
                found.add(FILE, (*at, "set", name), "not what a permission can be about", "Write `tpl:…` or `adv:…`")
        elif name in known and "*" not in word and not PLACE.search(word):
            found.known(FILE, (*at, "set", name), word, known[name], name)
    _check_codes(found, rule, at)


def _check_codes(found: Findings, rule: schema.SignalRule, at: Path_) -> None:
    if any("*" in code for code in rule.needs) and (len(rule.needs) > 1 or not rule.needs[0].endswith(".*")):
        found.add(
            FILE, (*at, "needs"), "`*` stands for the end of the only code", "Write one code, such as `template.*`"
        )
    of_purpose = [code for code in rule.needs if CONSENT_OF_PURPOSE.fullmatch(code)]
    is_ours = any(CONSENT_OF_VENDOR.fullmatch(code) for code in rule.needs)
    if of_purpose and not is_ours:
        # a TC string's purpose says nothing of us unless its vendor does (TCF v2, vendor and purpose must both hold)
        remedy = "Add `vendor.ID.purpose.N`, with our id on the Global Vendor List"
        found.add(FILE, (*at, "needs"), f"`{of_purpose[0]}` alone is nobody's consent", remedy)
