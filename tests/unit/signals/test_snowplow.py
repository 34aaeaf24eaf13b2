"""Snowplow's consent events: only allow_all and allow_selected on the basis consent grant a scope."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from orchestration.consent.signals import snowplow
from orchestration.consent.signals.document import asked
from tests.unit.signals.objects import RULES, answers, check_form, check_removal, documents, fails, granted, values

ROOT = "iglu:com.snowplowanalytics.snowplow"
COLUMN = "com_snowplowanalytics_snowplow"


def schema(name: str, data: Any) -> dict[str, Any]:
    return {"schema": f"{ROOT}/{name}/jsonschema/1-0-0", "data": data}


def preference(event_type: str = "allow_selected", basis: str = "consent", **changes: Any) -> dict[str, Any]:
    return {
        "eventType": event_type,
        "basisForProcessing": basis,
        "consentUrl": "https://www.example.com/privacy",
        "consentVersion": "3.0",
        "consentScopes": ["analytics", "ads"],
        "domainsApplied": ["www.example.com", "shop.example.com"],
        "gdprApplies": True,
        **changes,
    }


def enriched(name: str, data: Any, **more: Any) -> dict[str, Any]:
    return {"event_id": "e1", "user_id": "u1", f"unstruct_event_{COLUMN}_{name}_1": data, **more}


DOCUMENTS = {f"contexts_{COLUMN}_consent_document_1": [{"id": "d1", "version": "2", "name": "Terms"}]}
GOLDENS: list[Any] = [
    schema("consent_preferences", preference()),
    schema("unstruct_event", schema("consent_preferences", preference("allow_all"))),
    {"event_id": "e1", "unstruct_event": schema("unstruct_event", schema("consent_preferences", preference()))},
    enriched("consent_preferences", preference("deny_all"), derived_tstamp="2023-01-01 00:00:00.000"),
    enriched("consent_preferences", preference(basis="legitimate_interests")),
    enriched("consent_granted", {"expiry": "2024-01-01T00:00:00Z"}, **DOCUMENTS),
    {**schema("consent_granted", {}), "contexts": [schema("consent_document", {"id": "d1", "version": "2"})]},
    enriched("consent_withdrawn", {"all": False}, **DOCUMENTS),
    enriched("consent_withdrawn", {"all": True}),
]
WORDS: list[Any] = [
    *("allow_all", "allow_selected", "deny_all", "pending", "implicit_consent", "withdrawn", "expired", "consent"),
    *(
        "contract",
        "legitimate_interests",
        "analytics",
        ["ads"],
        True,
        False,
        preference(),
        {"id": "d1", "version": "2"},
    ),
    *(schema("consent_document", {"id": "d2", "version": "1"}), f"{ROOT}/consent_preferences/jsonschema/1-0-0"),
]
BASES = ["contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests"]


@pytest.mark.parametrize("document", GOLDENS[:3])
def test_selected_scopes_are_granted_in_every_form(document: Any) -> None:
    (signal,) = snowplow.read(document)
    assert signal.problem is None and granted([signal]) == {"analytics", "ads"}
    assert asked(signal, "personalisation", snowplow.PARTIAL) == "refused"
    assert asked(signal, "legitimate_interests.analytics", snowplow.PARTIAL) == "refused"


@pytest.mark.parametrize("event_type", ["deny_all", "pending", "implicit_consent", "withdrawn", "expired"])
def test_every_other_type_of_event_refuses(event_type: str) -> None:
    (signal,) = snowplow.read(schema("consent_preferences", preference(event_type)))
    assert granted([signal]) == set() and signal.problem is None
    assert signal.answers["analytics"] == "refused" and signal.values["eventType"] == event_type


@pytest.mark.parametrize("basis", BASES)
def test_another_basis_than_consent_has_a_code_of_its_own(basis: str) -> None:
    (signal,) = snowplow.read(schema("consent_preferences", preference("allow_all", basis)))
    assert granted([signal]) == {f"{basis}.analytics", f"{basis}.ads"} and signal.answers["ads"] == "refused"
    (denied,) = snowplow.read(schema("consent_preferences", preference("deny_all", basis)))
    assert granted([denied]) == set()


@pytest.mark.parametrize(
    "changes",
    [
        *({"eventType": "ALLOW_ALL"}, {"eventType": None}, {"eventType": ["allow_all"]}, {"eventType": True}),
        *({"basisForProcessing": None}, {"basisForProcessing": "Consent"}, {"basisForProcessing": ""}),
        *({"consentVersion": ""}, {"consentUrl": None}, {"consentScopes": []}, {"consentScopes": "analytics"}),
        *({"consentScopes": None}, {"domainsApplied": []}, {"domainsApplied": None}, {"consentScopes": [None, " a"]}),
        {"eventType": "withdrawn", "consentScopes": ["analytics", " ads"]},
    ],
)
def test_preference_that_lacks_what_its_schema_requires_is_malformed(changes: dict[str, Any]) -> None:
    (signal,) = snowplow.read(enriched("consent_preferences", preference(**changes)))
    assert signal.problem and not signal.answers and signal.values["user_id"] == "u1"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"schema": f"{ROOT}/consent_preferences/jsonschema/2-0-0", "data": preference()},
        {"schema": f"{ROOT}/consent_preferences/jsonschema/1-0-1", "data": preference()},
        {"schema": "iglu:com.example/consent_preferences/jsonschema/1-0-0", "data": preference()},
        schema("consent_preferences", None),
        schema("page_view", preference()),
        preference(),
    ],
)
def test_unknown_schema_or_version_is_malformed(document: Any) -> None:
    (signal,) = snowplow.read(document)
    assert signal.problem and not signal.answers


def test_values_of_a_preference() -> None:
    assert values(snowplow.read(GOLDENS[3])) == [
        {
            "event_id": "e1",
            "user_id": "u1",
            "derived_tstamp": "2023-01-01 00:00:00.000",
            "eventType": "deny_all",
            "basisForProcessing": "consent",
            "consentVersion": "3.0",
            "consentUrl": "https://www.example.com/privacy",
            "domainsApplied": "www.example.com shop.example.com",
            "gdprApplies": "true",
        }
    ]


def test_older_grant_names_its_document_and_version() -> None:
    (signal,) = snowplow.read(GOLDENS[5])
    assert signal.answers == {"document.d1": "granted"}
    assert signal.values["document.version"] == "2" and signal.values["expiry"] == "2024-01-01T00:00:00Z"
    assert asked(signal, "analytics", snowplow.PARTIAL) is None
    for contexts in ([], [{"id": "d1"}], [{"version": "2"}], None, "d1"):
        (bare,) = snowplow.read(enriched("consent_granted", {}, **{f"contexts_{COLUMN}_consent_document_1": contexts}))
        assert bare.problem and not bare.answers


def test_older_withdrawal_is_of_its_documents_or_of_all() -> None:
    assert answers(snowplow.read(GOLDENS[7])) == [{"document.d1": "refused"}]
    (everything,) = snowplow.read(GOLDENS[8])
    assert asked(everything, "document.d7", snowplow.PARTIAL) == "refused"
    for data in ({"all": False}, {}, {"all": "true"}, {"all": None}):
        (bare,) = snowplow.read(enriched("consent_withdrawn", data))
        assert bare.problem and bare.values["user_id"] == "u1"


def test_two_events_that_contradict_each_other_refuse() -> None:
    document = {**GOLDENS[0], **enriched("consent_preferences", preference("deny_all"))}
    assert granted(snowplow.read(document)) == set()


def name(value: Any) -> str | None:
    if type(value) is int and abs(value) < 2**63:
        return str(value)
    is_text = type(value) is str and value == value.strip() and value.isprintable() and 0 < len(value) <= 1_024
    return value if is_text and "*" not in value else None


def texts(value: Any) -> bool:
    return (type(value) is int and abs(value) < 2**63) or (
        type(value) is str and name(value.strip().replace("*", "x")) is not None
    )


def plainly_granted(document: Any) -> set[str]:
    """The second reader, from the Iglu schemas: the events and documents of one event, granted less refused."""
    if isinstance(document, list):
        return {code for event in document for code in plainly_granted(event) if isinstance(event, dict)}
    if not isinstance(document, dict):
        return set()
    unstruct = document.get("unstruct_event")
    nests = [document, document.get("data"), unstruct, unstruct.get("data") if isinstance(unstruct, dict) else 0]
    said = [(nest.get("schema"), nest.get("data")) for nest in nests if isinstance(nest, dict)]
    names = {"consent_preferences", "consent_granted", "consent_withdrawn"}
    events = [(n, data) for s, data in said for n in names if s == f"{ROOT}/{n}/jsonschema/1-0-0"]
    events += [(n, document[key]) for n in names if (key := f"unstruct_event_{COLUMN}_{n}_1") in document]
    contexts = document.get("contexts")
    entities = [contexts, contexts.get("data") if isinstance(contexts, dict) else 0, document.get("context")]
    wanted = f"{ROOT}/consent_document/jsonschema/1-0-0"
    found = [
        e.get("data")
        for lot in entities
        if type(lot) is list
        for e in lot
        if isinstance(e, dict)
        if e.get("schema") == wanted
    ]
    column = document.get(f"contexts_{COLUMN}_consent_document_1")
    found += column if type(column) is list else []
    yes: set[str] = set()
    no: set[str] = set()
    for kind, data in events:
        if not isinstance(data, dict):
            continue
        if kind == "consent_preferences":
            granting, refusing = prefer(data)
            yes |= granting
            no |= refusing
        docs = [(name(d.get("id")), d.get("version")) if isinstance(d, dict) else (None, None) for d in found]
        if kind == "consent_granted":
            yes |= {f"document.{i}" for i, version in docs if i and texts(version)}
        if kind == "consent_withdrawn" and type(data.get("all")) is bool and all(i for i, _ in docs):
            no |= {f"document.{i}" for i, _ in docs}
    return yes - no


def prefer(data: dict[str, Any]) -> tuple[set[str], set[str]]:
    scopes, domains = data.get("consentScopes"), data.get("domainsApplied")
    kinds = ["consent", *BASES]
    is_whole = type(scopes) is list and type(domains) is list and any(name(d) for d in domains)
    is_whole = is_whole and texts(data.get("consentVersion")) and texts(data.get("consentUrl"))
    event_type, basis = data.get("eventType"), data.get("basisForProcessing")
    if not is_whole or type(event_type) is not str or basis not in kinds or not any(name(s) for s in scopes or []):
        return set(), set()
    allowing = event_type in ("allow_all", "allow_selected")
    if not allowing and (event_type not in WORDS[2:7] or not all(name(s) for s in scopes or [])):
        return set(), set()
    every = {(k, ("" if k == "consent" else f"{k}.") + str(name(s))) for s in scopes or [] if name(s) for k in kinds}
    yes = {code for k, code in every if allowing and k == basis}
    return yes, {code for _, code in every} - yes


@RULES
@given(documents(GOLDENS, WORDS))
def test_damaged_events_grant_only_what_is_plain(document: Any) -> None:
    check_form(snowplow.read, document)
    assert granted(snowplow.read(document)) == plainly_granted(document)


def denies(path: tuple[Any, ...], part: Any) -> bool:
    """Two events in one: a refusal is the type or the basis of the other, or it is a withdrawal."""
    kinds = ("allow_all", "allow_selected")
    is_other = path[-1] == "basisForProcessing" and part != "consent"
    return is_other or "withdrawn" in str(part) or path[-1] == "all" or (path[-1] == "eventType" and part not in kinds)


@RULES
@given(documents(GOLDENS, WORDS))
def test_removing_a_part_never_grants(document: Any) -> None:
    check_removal(snowplow.read, document, denies)


def test_properties_catch_a_reader_that_takes_implied_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snowplow, "ALLOWING", (*snowplow.ALLOWING, "implicit_consent"))

    def check(document: Any) -> None:
        assert granted(snowplow.read(document)) == plainly_granted(document)

    fails(check, documents([schema("consent_preferences", preference("implicit_consent"))], WORDS))


def test_properties_catch_a_reader_that_ignores_the_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snowplow, "BASES", ("consent",))

    def check(document: Any) -> None:
        assert granted(snowplow.read(document)) == plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))
