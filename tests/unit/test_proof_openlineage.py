"""OpenLineage events: as the spec says, with direct and indirect columns, masked tokens, and no query's text (E6)."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from orchestration.proof.lineage import openlineage, origins
from orchestration.proof.lineage.edges import ROWS, Column, direct, indirect
from orchestration.proof.lineage.graph import Lineage
from tests.openlineage_spec import RUN_EVENT, SUBTYPES

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
RUN = openlineage.Run("0123456789abcdef0123", datetime(2026, 11, 21, 16, tzinfo=UTC), AT)
Event = dict[str, Any]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


@pytest.fixture(scope="module")
def lineage(policy: Policy) -> Lineage:
    mart = [
        direct(Column("lake.web", "item"), Column("marts.dormant_90", "items"), "aggregate"),
        indirect(Column("lake.web", "subject_token"), Column("marts.dormant_90", ROWS), "group"),
        indirect(Column("lake.web", "raw_event"), Column("marts.dormant_90", "items"), "conditional"),
        indirect(Column("lake.web", ROWS), Column("marts.dormant_90", ROWS), "rows"),
    ]
    return Lineage([*origins.edges(policy), *mart], gates=("lake.web",), of_segment={})


@pytest.fixture(scope="module")
def events(policy: Policy, lineage: Lineage) -> list[Event]:
    return list(openlineage.events(lineage, RUN, openlineage.tags_of(policy, lineage)))


def complete(events: list[Event], job: str) -> Event:
    return next(event for event in events if event["job"]["name"] == job and event["eventType"] == "COMPLETE")


def test_every_event_is_as_the_spec_says(events: list[Event]) -> None:
    validator = jsonschema.Draft202012Validator(RUN_EVENT)
    assert len(events) > 50
    for event in events:
        assert not list(validator.iter_errors(event)), event["job"]["name"]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**events[0], "sql": "select 1"})


def test_each_run_starts_once_and_completes_once(events: list[Event]) -> None:
    ended = Counter((event["run"]["runId"], event["eventType"]) for event in events)
    runs = {run for run, _ in ended}
    assert all(ended[run, kind] == 1 for run in runs for kind in ("START", "COMPLETE"))
    assert len(ended) == 2 * len(runs)
    assert (events[0]["job"]["name"], events[-1]["job"]["name"]) == ("build", "build")


def test_direct_and_indirect_columns_have_subtypes_of_the_spec(events: list[Event]) -> None:
    fields = complete(events, "marts.dormant_90")["outputs"][0]["facets"]["columnLineage"]
    (item, raw_event) = fields["fields"]["items"]["inputFields"]
    assert (item["field"], item["transformations"][0]["subtype"]) == ("item", "AGGREGATION")
    assert (raw_event["field"], raw_event["transformations"][0]["type"]) == ("raw_event", "INDIRECT")
    assert [one["transformations"][0]["subtype"] for one in fields["dataset"]] == ["GROUP_BY"]
    for event in events:
        for output in event.get("outputs", ()):
            facet = output["facets"]["columnLineage"]
            inputs = [*facet["dataset"], *(one for of in facet["fields"].values() for one in of["inputFields"])]
            for made in (made for one in inputs for made in one["transformations"]):
                assert made["subtype"] in SUBTYPES[made["type"]], made


def test_tokens_are_masked_and_what_is_kept_is_not(events: list[Event]) -> None:
    fields = complete(events, "lake.web")["outputs"][0]["facets"]["columnLineage"]["fields"]

    def masking(column: str, source: str) -> bool:
        (made,) = (i["transformations"][0] for i in fields[column]["inputFields"] if i["field"] == source)
        return bool(made["masking"])

    assert masking("cookie_id_token", "cookie_id") and masking("subject_token", "email")
    assert not masking("item", "item")


def test_purpose_destination_and_minimisation_are_tags(events: list[Event]) -> None:
    export = complete(events, "exports.dormant_90__email_service")["outputs"][0]["facets"]["tags"]["tags"]
    assert {(tag["key"], tag["value"]) for tag in export} >= {
        ("purpose", "email_marketing"), ("destination", "email_service"), ("category", "identification"),
    }  # fmt: skip
    (web,) = (one for one in complete(events, "lake.web")["inputs"] if one["name"] == "landing.web")
    assert {"key": "minimisation", "value": "drop", "source": "POLICY", "field": "page"} in web["facets"]["tags"][
        "tags"
    ]


def test_file_is_written_again_with_the_same_run_ids(tmp_path: Path, policy: Policy, lineage: Lineage) -> None:
    tags = openlineage.tags_of(policy, lineage)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    later = openlineage.Run(RUN.generation, RUN.as_of, datetime(2026, 11, 23, tzinfo=UTC))
    assert openlineage.write_events(first, lineage, RUN, tags) == openlineage.write_events(second, lineage, later, tags)
    ids = [[json.loads(line)["run"]["runId"] for line in path.read_text().splitlines()] for path in (first, second)]
    assert ids[0] == ids[1]
    assert first.stat().st_mode & 0o077 == 0


def test_company_beside_has_a_namespace_of_its_own() -> None:
    assert openlineage.namespace(()) == "assent"
    assert openlineage.namespace(("acme", "marketing")) == "acme.marketing.assent"
