"""What a conflict restricts: the same event id with two bodies, of which nobody can say which is true (fault B2)."""

from __future__ import annotations

from typing import Any

from orchestration.consent.models import COLUMNS

EMPTY: dict[str, Any] = dict.fromkeys(COLUMNS)
SCOPE = ("purpose", "category", "recipient")


def restrict(first: dict[str, Any], second: dict[str, Any], recorded_at: int) -> list[dict[str, Any]]:
    """The restrictive records for either body, at the later of their times, so that the order of arrival is no matter.

    A platform permission is closed (it is no consent, R-101); anything else presumes a denial: of its scope where it is
    a consent, of every scope of its controller otherwise, and at both ends of a link."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    at = max(first["effective_at"], second["effective_at"])
    for body in (first, second):
        for subject_ref in (body["subject_ref"], body["object_ref"]):
            if subject_ref is None:
                continue
            row = {
                **EMPTY,
                **_restriction(body),
                "subject_ref": subject_ref,
                "controller": body["controller"],
                "effective_at": at,
                "recorded_at": recorded_at,
                "feed": second["feed"],
                "batch": second["batch"],
            }
            found.setdefault(tuple(row.values()), row)
    return list(found.values())


def _restriction(body: dict[str, Any]) -> dict[str, Any]:
    if body["type"] == "permission":
        return {"type": "permission", "channel": body["channel"], "fact": body["fact"], "state": "closed"}
    scope = {name: body[name] for name in SCOPE} if body["type"] == "consent" else {}
    return {"type": "consent", "decision": "presumed_denial", **scope}
