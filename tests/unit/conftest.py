"""Small homes that many files copy, made once in each process. Copy them, do not change them."""

from __future__ import annotations

import pytest

from tests.erasure_world import erased_once, exported, scattered
from tests.generation_fixture import World, make_world

__all__ = ["erased_once", "exported", "scattered"]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("template"))
