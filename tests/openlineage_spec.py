"""What the OpenLineage spec asks of an event and of the facets that are written here, as JSON Schema facts: RunEvent of
2-0-2, ColumnLineageDatasetFacet 1-2-0, SchemaDatasetFacet 1-2-0, TagsDatasetFacet 1-0-0, ParentRunFacet 1-2-0,
NominalTimeRunFacet 1-0-1, JobTypeJobFacet 2-0-4. Stricter in one thing: nothing that is not named may be there."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
URI: Schema = {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:\S+$"}
TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
UUID: Schema = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}


def of(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def facet(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return of({"_producer": URI, "_schemaURL": URI, **required}, optional)


NAMED = {"namespace": TEXT, "name": TEXT}
TRANSFORMATION = of(
    {"type": {"enum": ["DIRECT", "INDIRECT"]}},
    {"subtype": TEXT, "description": TEXT, "masking": {"type": "boolean"}},
)
SUBTYPES = {
    "DIRECT": {"IDENTITY", "TRANSFORMATION", "AGGREGATION"},
    "INDIRECT": {"JOIN", "GROUP_BY", "FILTER", "SORT", "WINDOW", "CONDITIONAL"},
}
INPUT_FIELD = of({**NAMED, "field": TEXT}, {"transformations": many(TRANSFORMATION)})
COLUMN_LINEAGE = facet(
    {"fields": {"type": "object", "additionalProperties": of({"inputFields": many(INPUT_FIELD)})}},
    {"dataset": many(INPUT_FIELD)},
)
DATASET = of(
    NAMED,
    {"facets": of(
        {"schema": facet({"fields": many(of({"name": TEXT}, {"type": TEXT}))})},
        {"columnLineage": COLUMN_LINEAGE,
         "tags": facet({"tags": many(of({"key": TEXT, "value": TEXT}, {"source": TEXT, "field": TEXT}))})},
    )},
)  # fmt: skip
RUN_EVENT = of(
    {
        "eventTime": TIME, "producer": URI, "schemaURL": URI,
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "run": of({"runId": UUID, "facets": of(
            {"nominalTime": facet({"nominalStartTime": TIME})},
            {"parent": facet({"run": of({"runId": UUID}), "job": of(NAMED)})},
        )}),
        "job": of({**NAMED, "facets": of({"jobType": facet(
            {"processingType": {"enum": ["BATCH", "STREAMING", "SERVICE"]}, "integration": TEXT}, {"jobType": TEXT}
        )})}),
    },
    {"inputs": many(DATASET), "outputs": many(DATASET)},
)  # fmt: skip
