"""What must hold of every reader of consent objects: no exception, no grant without the exact words, no long work."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.consent.signals import (
    consent_mode,
    hubspot,
    mparticle,
    onetrust,
    rudderstack,
    segment,
    snowplow,
    trustarc,
)
from tests.unit.signals import (
    test_consent_mode,
    test_hubspot,
    test_mparticle,
    test_onetrust,
    test_rudderstack,
    test_segment,
    test_snowplow,
    test_trustarc,
)
from tests.unit.signals.documents import ANY_JSON
from tests.unit.signals.objects import RULES, check_form, documents, granted

READERS: dict[ModuleType, Any] = {
    consent_mode: test_consent_mode,
    segment: test_segment,
    rudderstack: test_rudderstack,
    snowplow: test_snowplow,
    mparticle: test_mparticle,
    onetrust: test_onetrust,
    hubspot: test_hubspot,
    trustarc: test_trustarc,
}
each_reader = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__.rsplit(".", 1)[-1])


@each_reader
@RULES
@given(document=ANY_JSON)
def test_any_json_is_read_without_exception_and_grants_nothing(reader: Any, document: Any) -> None:
    check_form(reader.read, document)
    assert granted(reader.read(document)) == set()


def disguised(part: Any) -> Any:
    """The same document with every word a character too long, and the text `true` for true."""
    if isinstance(part, dict):
        return {key: disguised(inner) for key, inner in part.items()}
    if isinstance(part, list):
        return [disguised(inner) for inner in part]
    return "true" if part is True else f"{part}." if isinstance(part, str) else part


@pytest.mark.parametrize(
    "reader",
    [reader for reader in READERS if reader is not rudderstack],
    ids=lambda reader: reader.__name__.rsplit(".", 1)[-1],
)
@RULES
@given(data=st.data())
def test_nothing_is_granted_without_the_exact_words(reader: Any, data: st.DataObject) -> None:
    """RudderStack's word is the key that lists the allowed, that of Snowplow's older grant its schema: their second
    readers are for them."""
    document = data.draw(documents(READERS[reader].GOLDENS, READERS[reader].WORDS))
    found = granted(reader.read(disguised(document)))
    assert {name for name in found if reader is not snowplow or not name.startswith("document.")} == set()


@each_reader
def test_goldens_grant_something_so_that_the_above_can_fail(reader: Any) -> None:
    assert any(granted(reader.read(document)) for document in READERS[reader].GOLDENS)


@each_reader
@pytest.mark.parametrize("shape", ["deep", "wide", "many"])
def test_hostile_shapes_take_under_a_second(reader: Any, shape: str) -> None:
    keys = ("results", "statuses", "changes", "batch", "content", "consent", "context", "data", "payload", "profiles")
    inner: Any = {}
    for _ in range(500):
        inner = {key: [inner] if number % 2 else inner for number, key in enumerate(keys)}
    wide = {key: [{other: [{}] * 1_000 for other in keys}] * 1_000 for key in keys}
    document = {"deep": inner, "wide": wide, "many": [{}] * 1_000_000}[shape]
    start = time.process_time()
    signals = reader.read(document)
    assert time.process_time() - start < 1 and granted(signals) == set()


def test_largest_sound_documents_take_under_a_second() -> None:
    options = [{"id": f"o{number}"} for number in range(499)]
    profiles = [
        test_onetrust.profile(f"p{number}", version=number, customPreferences=[{"id": "c", "options": options}])
        for number in range(300)
    ]
    statuses = [test_hubspot.latest(subscriptionId=number) for number in range(999)]
    hooks = [test_hubspot.webhook("hs_email_optout_7", "true")] * 9_999
    for reader, document in (
        (onetrust, test_onetrust.details(*profiles)),
        (hubspot, {"results": statuses}),
        (hubspot, hooks),
    ):
        start = time.process_time()
        signals = reader.read(document)
        assert time.process_time() - start < 2  # 0.8 s at most when alone; twice that on a machine that is shared
        assert signals and not any(signal.problem for signal in signals)
