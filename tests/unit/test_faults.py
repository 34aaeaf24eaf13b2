"""Every fault of the catalogue that is promised so far has a test that injects it, marked `fault("<id>")`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Kills in purge, erasure and rotation; delivery, order and time; the ledger's integrity and keys; leaks; erasure,
# retention and backups; what fails open if naive.
PROMISED = (
    *(f"B{number}" for number in range(1, 15)),
    *(f"D{number}" for number in range(1, 11)),
    *(f"E{number}" for number in range(1, 11)),
    *(f"F{number}" for number in range(1, 13)),
    *("A8", "A9", "A10"),
    "C8",
    "G1",
    *(f"H{number}" for number in range(1, 13)),
)


def marked(path: Path) -> Iterator[str]:
    """The ids in decorators, parameters and `pytestmark` of one test file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fault":
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


INJECTED = {fault for path in TESTS.rglob("test_*.py") for fault in marked(path)}


@pytest.mark.parametrize("fault", PROMISED)
def test_fault_is_injected_by_a_test(fault: str) -> None:
    assert fault in INJECTED
