"""WeChat: a person takes back what the account may know, or closes the WeChat account: each asks for deletion.

The code of what was taken back (`RevokeInfo`) belongs to the surface it was given on, and tells which that is. `scope`
names the fields, or is `everything`: after a cancellation, and where a code is unknown or missing.

WeChat Developers, "Authorized user information change", the tables of Mini Programs, Service Accounts, Mobile Apps."""

from __future__ import annotations

from orchestration.consent.signals.pushed import IDENTIFIER, Envelope
from orchestration.consent.signals.signal import Answer, Signal

MODIFIED, REVOKED = "user_info_modified", "user_authorization_revoke"
CANCELLED = "user_authorization_cancellation"
EVENTS = frozenset((MODIFIED, REVOKED, CANCELLED))
EVERYTHING = "everything"
PROFILE = ("nickname", "avatar")
SURFACES: dict[str, dict[str, tuple[str, ...]]] = {
    "mini_program": {
        "1": ("license_plate",),
        "2": ("address",),
        "3": ("invoice",),
        "4": ("bluetooth",),
        "5": ("microphone",),
        "6": PROFILE,
        "7": ("camera",),
        "8": ("phone",),
        "12": ("steps",),
        "13": ("location",),
        "14": ("media",),  # the pictures and videos that were chosen
        "15": ("files",),
        "16": ("email",),
        "18": ("chosen_location",),
        "19": ("nickname",),
        "20": ("avatar",),
    },
    "official_account": {
        "201": ("address",),
        "202": ("invoice",),
        "203": ("cards",),
        "204": ("microphone",),
        "205": PROFILE,
        "206": ("location",),
        "207": ("media",),
    },
    "mobile_app": {"301": (EVERYTHING,)},
}
FIELDS = tuple(
    sorted({name for codes in SURFACES.values() for names in codes.values() for name in names} - {EVERYTHING})
)


def authorisation_signals(envelope: Envelope, event: str) -> list[Signal]:
    """One signal: a deletion request for the fields, and the refusal of what had been authorised.

    `user_info_modified` is the platform's clearing of a risky profile: name and picture are to go, nobody refused."""
    taken_back = envelope.text("RevokeInfo")
    surface, names = _taken_back(taken_back)
    if event == MODIFIED:
        names = PROFILE
    elif event == CANCELLED:
        names = (EVERYTHING,)
    answers: dict[str, Answer] = {"request.erasure": "granted"}
    if event != MODIFIED:
        answers |= {f"authorised.{name}": "refused" for name in ((*FIELDS, "*") if EVERYTHING in names else names)}
    if event == CANCELLED:
        answers |= {"follow": "refused", "template.*": "refused"}
    plugin = {name: envelope.text(field) for name, field in (("plugin_id", "PluginID"), ("openpid", "OpenPID"))}
    plugin = {name: value for name, value in plugin.items() if IDENTIFIER.fullmatch(value)}
    return [envelope.signal(answers, taken_back, *plugin.values(), scope=",".join(names), surface=surface, **plugin)]


def _taken_back(said: str) -> tuple[str, tuple[str, ...]]:
    codes = [code.strip() for code in said.split(",")]
    for surface, table in SURFACES.items():
        if all(code in table for code in codes):
            names = tuple(dict.fromkeys(name for code in codes for name in table[code]))
            return surface, (EVERYTHING,) if EVERYTHING in names else names
    return "", (EVERYTHING,)
