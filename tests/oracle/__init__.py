"""A slow, plain evaluator written from the text of design §1 to §4 alone: what the dbt models are held against.

It knows nothing of intervals, masks or SQL: one touchpoint, one purpose, one instant at a time. Not here: how worlds
are made (`tests/worlds.py`) or reach a database (`tests/staged.py`)."""

from tests.oracle.decision import decide
from tests.oracle.facts import Age, Contract, Event, Link, Status, Touchpoint, World
from tests.oracle.people import resolve

__all__ = ["Age", "Contract", "Event", "Link", "Status", "Touchpoint", "World", "decide", "resolve"]
