"""A webhook that nobody signed, or long ago, says nothing: quarantined, and its feed is incomplete (fault B13)."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestration.consent.feeds.importer import import_file
from orchestration.consent.feeds.report import ImportReport
from orchestration.consent.feeds.signatures import holds
from orchestration.errors import AssentError
from orchestration.policy.schema import Signature
from tests.unit.signals.test_feeds import NOW, OF_FORMAT, POLICY, Desk, desk, segment

__all__ = ["desk"]
SECRET = "shared-in-a-test"
SECONDS = int(NOW.timestamp())
SIGNED = Signature(
    key_env="SEGMENT_SECRET",
    value="headers.x-signature",
    of="{headers.x-timestamp}.{body}",
    prefix="v1=",
    signed_at="headers.x-timestamp",
    received_at="received",
)
# RFC 4231 and RFC 2202, test case 2: HMAC of the same text under the key "Jefe".
JEFE = "what do ya want for nothing?"
VECTORS = {
    ("hmac_sha256", "hex"): "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ("hmac_sha256", "base64"): "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=",
    ("hmac_sha1", "hex"): "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
}


def envelope(body: str, *, at: int = SECONDS, received: int = SECONDS, secret: str = SECRET) -> dict[str, Any]:
    digest = hmac.new(secret.encode(), f"{at}.{body}".encode(), "sha256").hexdigest()
    return {"headers": {"x-timestamp": at, "x-signature": f"v1={digest}"}, "received": received, "body": body}


def deliver(desk: Desk, *envelopes: dict[str, Any], file: str = "in") -> ImportReport:
    feed = OF_FORMAT["segment"].model_copy(update={"body": "body", "signature": SIGNED})
    path = desk.folder / file
    path.write_text("".join(json.dumps(one) + "\n" for one in envelopes), encoding="utf-8")
    return import_file(desk.home, POLICY, desk.keys, feed, path, now=NOW)


@pytest.mark.parametrize(("form", "expected"), VECTORS.items())
def test_signature_is_the_one_of_the_specification(form: tuple[Any, Any], expected: str) -> None:
    rule = Signature(key_env="K", value="sign", method=form[0], encoding=form[1])
    assert holds(rule, "Jefe", {"sign": expected}, JEFE)
    assert not holds(rule, "jefe", {"sign": expected}, JEFE)


def test_signature_of_wechat_sorts_what_it_signs() -> None:
    rule = Signature(key_env="K", value="q.signature", of="{q.timestamp}{q.nonce}", method="sha1_sorted")
    found = hashlib.sha1(b"1700000000" + b"9a" + b"token").hexdigest()
    signed = {"q.timestamp": "1700000000", "q.nonce": "9a", "q.signature": found}
    assert holds(rule, "token", signed, "<xml/>")
    assert not holds(rule, "token", signed | {"q.nonce": "9b"}, "<xml/>")


@given(text=st.text(max_size=80), other=st.text(max_size=80))
def test_no_other_body_or_secret_or_time_fits_a_signature(text: str, other: str) -> None:
    told = envelope(text or "-")
    flat = {f"headers.{name}": str(value) for name, value in told["headers"].items()} | {"received": str(SECONDS)}
    assert holds(SIGNED, SECRET, flat, text or "-")
    assert holds(SIGNED, SECRET, flat, other or "-") == ((other or "-") == (text or "-"))
    assert not holds(SIGNED, other, flat, text or "-") or other == SECRET
    assert not holds(SIGNED, "", flat, text or "-")
    for name in flat:
        assert not holds(SIGNED, SECRET, {k: v for k, v in flat.items() if k != name}, text or "-")


def test_signed_webhook_is_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENT_SECRET", SECRET)
    report = deliver(desk, envelope(json.dumps(segment())))
    assert (report.quarantined, report.is_incomplete) == (0, False)
    assert report.accepted == len(desk.records()) > 0


LATE = envelope(json.dumps(segment()), received=SECONDS + 301)
FORGED = {
    "another secret": envelope(json.dumps(segment()), secret="guessed"),
    "another body": envelope(json.dumps(segment())) | {"body": json.dumps(segment()) + " "},
    "replayed later": LATE,
    "renewed time": LATE | {"headers": LATE["headers"] | {"x-timestamp": SECONDS + 301}},
    "time from ahead": envelope(json.dumps(segment()), at=SECONDS + 301),
    "no signature": {"headers": {"x-timestamp": SECONDS}, "received": SECONDS, "body": json.dumps(segment())},
    "no prefix": envelope(json.dumps(segment())) | {"headers": {"x-timestamp": SECONDS, "x-signature": "v1="}},
    "body as an object": envelope(json.dumps(segment())) | {"body": segment()},
    "no body": {name: value for name, value in envelope("{}").items() if name != "body"},
}


@pytest.mark.fault("B13")
@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_webhook_that_is_not_signed_binds_nobody_and_stops_its_feed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, forged: dict[str, Any]
) -> None:
    monkeypatch.setenv("SEGMENT_SECRET", SECRET)
    report = deliver(desk, forged, envelope(json.dumps(segment())))
    assert report.quarantined_by_reason == {"bad_signature": 1}
    assert report.is_incomplete
    assert report.read == report.accepted + report.quarantined
    alone = deliver(desk, forged, file="alone")
    assert (alone.accepted, alone.presumed_denials) == (0, 0)


def test_missing_secret_stops_the_import(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGMENT_SECRET", raising=False)
    with pytest.raises(AssentError, match="SEGMENT_SECRET"):
        deliver(desk, envelope(json.dumps(segment())))
    assert desk.records() == []


def test_five_minutes_are_the_last_moment(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENT_SECRET", SECRET)
    late = SECONDS + int(timedelta(minutes=5).total_seconds())
    assert deliver(desk, envelope(json.dumps(segment()), received=late)).quarantined == 0


@pytest.mark.parametrize(
    "wrong",
    [{"signed_at": "t"}, {"signed_at": "t", "received_at": "r"}, {"method": "md5"}, {"key_env": "lower case"}],
    ids=["one time", "time unsigned", "method", "secret itself"],
)
def test_policy_refuses_a_signature_that_proves_nothing(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Signature(**{"key_env": "K", "value": "s", **wrong})  # type: ignore[arg-type]
