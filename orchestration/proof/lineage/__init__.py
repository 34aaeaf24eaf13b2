"""Lineage that governance can read: the graph, questions to it, and its forms for terminals, pages and other tools."""

EVENTS = "openlineage.jsonl"  # in evidence/<generation>/: what the build was made from, as OpenLineage events
