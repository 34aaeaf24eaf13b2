"""Lineage: every column that no model makes has an origin, and the two questions are answered with the gates passed."""

from __future__ import annotations

import re

import pytest

from orchestration.exports import audience
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from orchestration.proof.lineage import origins
from orchestration.proof.lineage.answers import goes_of
from orchestration.proof.lineage.edges import ROWS, Column, Edge, direct, indirect
from orchestration.proof.lineage.facts import Facts
from orchestration.proof.lineage.graph import End, Lineage
from orchestration.warehouse.relations import relations

# Columns that are made where they are, from no field of anybody: constants, clocks, counters, the batch.
MADE_THERE = {
    "lake": {"source", "feed", "controller", "batch"},
    "ledger": {"seq", "recorded_at", "feed", "last_seen_at", "is_incomplete", "max_staleness_hours"},
    "identity": {"controller", "method", "recorded_at", "is_unlink"},
    "activity": set(),
}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


@pytest.fixture(scope="module")
def of_policy(policy: Policy) -> Lineage:
    return Lineage(origins.edges(policy), gates=(), of_segment={})


def test_every_staged_column_has_an_origin(policy: Policy, of_policy: Lineage) -> None:
    made = {edge.target for edge in of_policy.edges}
    for schema, names in MADE_THERE.items():
        for table, columns in relations(policy)[schema].items():
            without = {name for name in columns if Column(f"{schema}.{table}", name) not in made}
            assert without <= names or table in ("completeness", "feeds"), (schema, table, without - names)


def test_edges_name_no_column_that_is_not_there(policy: Policy, of_policy: Lineage) -> None:
    for schema, tables in relations(policy).items():
        for table, columns in tables.items():
            named = {c.name for c in of_policy.columns if c.relation == f"{schema}.{table}"} - {ROWS}
            assert named <= set(columns), (schema, table, named - set(columns))


def test_export_reads_the_columns_that_the_export_reads(policy: Policy, of_policy: Lineage) -> None:
    read = set(re.findall(r"\ba\.(\w+)", audience.CANDIDATES)) - {"person_key"}
    named = {c.name for c in of_policy.columns if c.relation == origins.ACTIVATIONS} - {ROWS}
    assert named <= read | {"destination"}
    assert read - named <= {"reason"}


def test_dropped_field_reaches_nothing_but_a_keyed_hash_and_sealed_copies(policy: Policy, of_policy: Lineage) -> None:
    ends = {str(end.column): how(end) for end in of_policy.forward(Column("landing.web", "page"))}
    assert ends == {"lake.web.body_hash": ["token"], "quarantine.web.page": ["encrypt"]}


def test_contact_goes_to_destinations_of_its_kind_only(of_policy: Lineage) -> None:
    ends = of_policy.forward(Column("landing.in_store", "phone"))
    files = {end.column.relation.rpartition("__")[2] for end in ends if end.column.name == "contact" and end.is_direct}
    assert files == {"sms_gateway", "front_desk", "partner_ads"}
    (export,) = (e for e in ends if e.column == Column("exports.follow_up__front_desk", "contact") and e.is_direct)
    assert how(export) == ["encrypt", "decrypt"]


def test_consent_feed_fills_the_ledger_it_may_fill(of_policy: Lineage) -> None:
    filled = {
        edge.target for edge in of_policy.edges if edge.source == Column("consent_feeds.consent_center", "purpose")
    }
    assert filled == {Column("ledger.consent_events", "purpose")}
    gpc = {c.name for c in of_policy.columns if c.relation == "consent_feeds.web_gpc"}
    assert "purpose" in gpc and "notice_id" not in gpc  # a browser's signal names no notice


def small(*, around: bool = False) -> Lineage:
    """A field through a gate into a mart; a filter by another field; `around`: a way past the gate."""
    edges: list[Edge] = [
        direct(Column("landing.web", "item"), Column("lake.web", "item"), "keep"),
        direct(Column("landing.web", "cookie"), Column("lake.web", "subject_token"), "token"),
        direct(Column("lake.web", "item"), Column("intermediate.gate", "item"), "copy"),
        indirect(Column("lake.web", "subject_token"), Column("intermediate.gate", ROWS), "join"),
        direct(Column("intermediate.gate", "item"), Column("marts.one", "items"), "aggregate"),
        direct(Column("intermediate.gate", "item"), Column("marts.two", "items"), "aggregate"),
        *(
            direct(Column(f"marts.{name}", "items"), Column("intermediate.int_members", "items"), "copy")
            for name in ("one", "two")
        ),
        *(
            direct(Column("intermediate.int_members", "items"), Column(f"exports.{name}__sms", "items"), "copy")
            for name in ("one", "two")
        ),
    ]
    if around:
        edges.append(indirect(Column("lake.web", "item"), Column("marts.one", ROWS), "filter"))
    of_segment = {
        **{(f"marts.{name}", "intermediate.int_members"): name for name in ("one", "two")},
        **{("intermediate.int_members", f"exports.{name}__sms"): name for name in ("one", "two")},
    }
    return Lineage(edges, gates=("intermediate.gate",), of_segment=of_segment)


def how(end: End) -> list[str]:
    return [edge.how for edge in end.path if edge.how != "copy"]


def found(ends: list[End], *, direct: bool = True) -> dict[str, End]:
    return {str(end.column): end for end in ends if end.is_direct is direct}


def test_back_tells_values_from_deciders() -> None:
    ends = found(small().back(Column("marts.one", "items")))
    assert ends.keys() == {"landing.web.item"}
    assert how(ends["landing.web.item"]) == ["keep", "aggregate"]
    assert found(small().back(Column("marts.one", "items")), direct=False).keys() == {"landing.web.cookie"}
    assert [str(edge.target) for edge in ends["landing.web.item"].path] == [
        "lake.web.item", "intermediate.gate.item", "marts.one.items",
    ]  # fmt: skip


def test_gate_is_told_only_where_every_way_passes_it() -> None:
    gate = ("intermediate.gate",)
    assert found(small().back(Column("marts.one", "items")))["landing.web.item"].gates == gate
    leaky = small(around=True)
    ends = leaky.back(Column("marts.one", "items"))
    assert found(ends)["landing.web.item"].gates == gate  # as a value it still passes
    decider = found(ends, direct=False)["landing.web.item"]
    assert (decider.gates, decider.is_free) == ((), True)
    assert "landing.web.item" not in found(leaky.back(Column("marts.two", "items")), direct=False)


def test_way_around_a_gate_by_a_reviewed_relation_is_told() -> None:
    edges = [
        *small().edges,
        indirect(Column("lake.web", "item"), Column("intermediate.int_absences", ROWS), "filter"),
        indirect(Column("intermediate.int_absences", ROWS), Column("marts.one", ROWS), "rows"),
    ]
    lineage = Lineage(edges, ("intermediate.gate",), {}, reviewed=("intermediate.int_absences",))
    decider = found(lineage.back(Column("marts.one", "items")), direct=False)["landing.web.item"]
    assert (decider.gates, decider.around, decider.is_free) == ((), "intermediate.int_absences", False)


def test_forward_reaches_marts_and_files_and_keeps_segments_apart() -> None:
    lineage = small()
    ends = found(lineage.forward(Column("landing.web", "item")))
    assert ends.keys() == {"marts.one.items", "marts.two.items", "exports.one__sms.items", "exports.two__sms.items"}
    assert {str(end.column) for end in lineage.forward(Column("marts.one", "items"))} == {"exports.one__sms.items"}
    path = found(lineage.back(Column("exports.two__sms", "items")))["landing.web.item"].path
    assert "marts.two" in {edge.target.relation for edge in path}
    assert "marts.one" not in {edge.target.relation for edge in path}


def test_unknown_column_has_no_ends() -> None:
    assert small().back(Column("marts.one", "nothing")) == []


def test_field_that_decides_past_the_gate_is_told_beside_where_it_goes_as_a_value() -> None:
    def told(lineage: Lineage) -> tuple[list[tuple[str, bool]], list[tuple[str, tuple[str, ...], bool]]]:
        goes = goes_of(lineage, Facts(load_policy()), Column("landing.web", "item"))
        valued = [(one.relation, one.is_gated) for one in goes.goes_to if one.relation == "marts.one"]
        return valued, [(one.relation, one.gates, one.is_gated) for one in goes.decides if one.kind == "segment"]

    assert told(small(around=True)) == ([("marts.one", True)], [("marts.one", (), False)])
    assert told(small()) == ([("marts.one", True)], [])


def test_of_two_ways_the_one_past_every_gate_is_told() -> None:
    """Though it is as long, and the other passes nothing but a reviewed relation."""
    reviewed = indirect(Column("intermediate.int_absences", ROWS), Column("marts.one", ROWS), "rows")
    edges = [
        *small(around=True).edges,
        direct(Column("landing.web", "item"), Column("lake.web", "again"), "keep"),
        indirect(Column("lake.web", "again"), Column("intermediate.int_absences", ROWS), "filter"),
        reviewed,
    ]
    lineage = Lineage(edges, ("intermediate.gate",), {}, reviewed=("intermediate.int_absences",))
    goes = goes_of(lineage, Facts(load_policy()), Column("landing.web", "item"))
    assert [(one.relation, one.is_gated) for one in goes.decides if one.relation == "marts.one"] == [
        ("marts.one", False)
    ]


def test_of_two_equal_ways_always_the_same_is_told() -> None:
    """The order of edges is that of sets, which is another in each process."""
    edges = [*small().edges]
    for name in ("b", "a"):  # two ways of one length
        edges.append(indirect(Column("lake.web", "item"), Column(f"intermediate.{name}", ROWS), "filter"))
        edges.append(indirect(Column(f"intermediate.{name}", ROWS), Column("marts.one", ROWS), "rows"))
    reviewed = ("intermediate.a", "intermediate.b")
    one, other = (Lineage(some, ("intermediate.gate",), {}, reviewed) for some in (edges, edges[::-1]))
    start = Column("landing.web", "item")
    assert one.forward(start) == other.forward(start)
    assert {end.around for end in one.forward(start) if end.column.relation == "marts.one"} == {"intermediate.a", None}
